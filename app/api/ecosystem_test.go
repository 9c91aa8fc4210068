package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// room is a folder with the programs of app/api/clienttest, as its lock file pins
// them. It is kept in bin/, so that they are brought once, under a name that Go passes over.
func room(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("there is no %s: `make deps` brings it", program)
			}
			t.Skipf("there is no %s on this machine: `make deps` brings it", program)
		}
	}
	lock, err := os.ReadFile("clienttest/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	kept, err := filepath.Abs("../../bin/.clienttest-" + hex.EncodeToString(sum[:6]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err == nil {
		return kept
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o750); err != nil {
		t.Fatal(err)
	}
	making, err := os.MkdirTemp(filepath.Dir(kept), "clienttest-making-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(making) }) // nothing is there once it is renamed
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		copyFile(t, "clienttest/"+name, filepath.Join(making, name))
	}
	in(t, making, "npm", "ci")
	if err := os.Rename(making, kept); err != nil {
		if _, err := os.Stat(kept); err != nil { // somebody else was faster
			t.Fatal(err)
		}
	}
	return kept
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// in runs a program in the folder; what it says is the result.
func in(t *testing.T, dir string, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// workbench is a folder of this test's own beside the programs.
func workbench(t *testing.T, files ...string) (dir, bin string) {
	t.Helper()
	kept := room(t)
	dir, err := os.MkdirTemp(kept, "test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range files {
		copyFile(t, name, filepath.Join(dir, filepath.Base(name)))
	}
	return dir, filepath.Join(kept, "node_modules", ".bin")
}

func TestToolsOfTheEcosystemTakeTheDocument(t *testing.T) {
	t.Parallel()
	dir, bin := workbench(t, "openapi.json", "clienttest/spectral.yaml", "clienttest/client.ts", "clienttest/tsconfig.json", "clienttest/package.json")

	t.Run("a linter finds nothing", func(t *testing.T) {
		t.Parallel()
		in(t, dir, filepath.Join(bin, "spectral"), "lint", "--ruleset", "spectral.yaml", "--fail-severity", "hint", "openapi.json")
	})

	t.Run("a client in another language works", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		for i := range 4 {
			f.create(t, fmt.Sprintf(`{"name": "n%d", "labels": {"team": "growth"}, "spec": {"every": "5m"}, "job": {"kind": "report"}}`, i))
		}
		in(t, dir, filepath.Join(bin, "openapi-typescript"), "openapi.json", "-o", "schema.d.ts", "--default-non-nullable", "false")
		in(t, dir, filepath.Join(bin, "tsc"), "-p", "tsconfig.json")
		got := in(t, dir, "node", "out/client.js", f.server.URL)
		want := "created from typescript active At 03:00 on weekdays, Asia/Tokyo\nedited 15m 2\nstale 412 Precondition Failed\n" +
			"wrong name\nwrong spec.cron\nlisted 5\ndeleted 204\n"
		equal(t, "what the program says", got, want)
	})
}
