// Package localpg runs a PostgreSQL server of our own as a child process: for
// development and for tests, where asking for a running server would be asking
// too much. It needs the installed binaries, no root, no network, no Docker.
//
// The server listens on the loopback address only and asks for a password that
// is made at random and kept beside the data. On Linux it shuts itself down in
// an orderly way when its parent dies, also by kill -9.
package localpg
