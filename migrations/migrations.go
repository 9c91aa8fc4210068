// Package migrations holds riverbeat's own goose migrations. The stock goose
// CLI works on this folder too. River's tables are made by River's own
// migrator, never from here.
package migrations

import "embed"

// FS holds the SQL files.
//
//go:embed *.sql
var FS embed.FS
