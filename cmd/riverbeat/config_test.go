package main

import (
	"fmt"

	"github.com/spf13/pflag"
)

// settingsTable is every setting as a row of the README's table.
func settingsTable() (rows []string) {
	var c Config
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	c.flags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		initial := ""
		if f.DefValue != "" {
			initial = "`" + f.DefValue + "`"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", variable(f.Name), initial, f.Usage))
	})
	return rows
}
