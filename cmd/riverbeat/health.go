package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Ask the riverbeat at --addr whether it is ready, for containers without a shell",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return p.health(cmd.Context()) },
	}
}

// health is nil when /readyz answers with 200.
func (p *program) health(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.config.localAddr()+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask whether it is ready: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask whether it is ready: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("read whether it is ready: %w", err)
	}
	fmt.Fprintln(p.stdout, strings.TrimSpace(string(body)))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it isn't ready: %s", response.Status)
	}
	return nil
}

// localAddr is where this machine reaches the HTTP server.
func (c *Config) localAddr() string {
	host, port, err := net.SplitHostPort(c.Addr)
	if err == nil && (host == "" || host == "0.0.0.0" || host == "::") {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return c.Addr
}
