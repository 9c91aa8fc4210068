package main

import (
	_ "embed"

	"github.com/spf13/cobra"
)

//go:embed operations/dashboard.json
var dashboard string

//go:embed operations/alerts.yaml
var alerts string

// operationsCommand prints what Grafana and Prometheus take.
func (p *program) operationsCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "operations", Short: "Print a Grafana dashboard, or alert rules for Prometheus, over riverbeat's metrics", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, printed := range []struct{ name, short, text string }{
		{"dashboard", "Print a dashboard for Grafana to import", dashboard},
		{"alerts", "Print alert rules for Prometheus", alerts},
	} {
		command.AddCommand(&cobra.Command{Use: printed.name, Short: printed.short, Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write([]byte(printed.text))
			return err
		}})
	}
	return command
}
