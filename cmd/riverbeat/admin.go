package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// adminHandler is what operators see of the process from inside: metrics and
// profiles. It asks nobody who they are, so it has an address of its own.
func adminHandler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not shown: flags may hold secrets", http.StatusNotFound)
	})
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// serveAdmin serves the handler on the admin address, until the context ends.
func (p *program) serveAdmin(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 120 * time.Second, MaxHeaderBytes: 16 << 10}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve %s: %w", variable("admin-addr"), err)
	case <-ctx.Done():
	}
	_ = server.Close() // a profile that is being taken isn't waited for
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", variable("admin-addr"), err)
	}
	return nil
}

// listenAdmin is nil when there is no admin address.
func (p *program) listenAdmin(ctx context.Context) (net.Listener, error) {
	if p.config.AdminAddr == "" {
		return nil, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.config.AdminAddr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", variable("admin-addr"), err)
	}
	p.log.Info("metrics and profiles are served", "admin_addr", listener.Addr().String())
	if !isLoopback(p.config.AdminAddr) {
		p.log.Warn(variable("admin-addr") + " isn't loopback: whoever reaches it sees metrics and profiles")
	}
	return listener, nil
}
