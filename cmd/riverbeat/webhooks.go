package main

import (
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// backends are the servers that this process works with, as host:port: no webhook
// may reach them. Sockets in the file system aren't reached by webhooks anyway.
func (s *server) backends() (hosts []string) {
	add := func(host string, port uint16) {
		if !strings.HasPrefix(host, "/") {
			hosts = append(hosts, net.JoinHostPort(host, strconv.Itoa(int(port))))
		}
	}
	for _, url := range []string{s.config.DatabaseURL, s.config.ListenDatabaseURL} {
		config, err := pgx.ParseConfig(url)
		if url == "" || err != nil {
			continue
		}
		add(config.Host, config.Port)
		for _, other := range config.Fallbacks {
			add(other.Host, other.Port)
		}
	}
	if s.redis != nil {
		hosts = append(hosts, s.redis.Options().Addr)
	}
	return hosts
}
