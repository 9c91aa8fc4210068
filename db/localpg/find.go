package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// MinVersion is the oldest major version of PostgreSQL that Find accepts.
const MinVersion = 15

// ErrNotFound means that this machine has no PostgreSQL server that will do. The
// error that wraps it says what to type to get one.
var ErrNotFound = errors.New("no PostgreSQL server found")

// installed are the places where packagers put the server's binaries, most of
// which aren't in PATH.
var installed = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // the project's own RPMs
	"/usr/libexec/postgresql*",                           // Alpine
	"/opt/homebrew/opt/postgresql*/bin",                  // Homebrew on Apple silicon
	"/usr/local/opt/postgresql*/bin",                     // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",     // Homebrew on Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
}

// Find returns the folder that holds postgres and initdb, version 15 or newer:
// the one that POSTGRES_BIN names, else the one in PATH, else the newest of the
// places where packagers put them. When POSTGRES_BIN is set it must do: nothing
// else is looked at. Without any, the error wraps ErrNotFound.
func Find() (binDir string, err error) { return find(context.Background()) }

func find(ctx context.Context) (binDir string, err error) {
	if dir := os.Getenv("POSTGRES_BIN"); dir != "" {
		version, err := majorVersion(ctx, dir)
		if err != nil {
			return "", fmt.Errorf("POSTGRES_BIN: %w", err)
		}
		if version < MinVersion {
			return "", fmt.Errorf("POSTGRES_BIN: %s is PostgreSQL %d, need %d or newer", dir, version, MinVersion)
		}
		return dir, nil
	}

	tooOld := ""
	for _, dir := range inPath() {
		version, err := majorVersion(ctx, dir)
		if err == nil && version >= MinVersion {
			return dir, nil
		}
		if err == nil {
			tooOld = dir
		}
	}
	newest := 0
	for _, pattern := range installed {
		dirs, _ := filepath.Glob(pattern) // the patterns are well formed
		for _, dir := range dirs {
			version, err := majorVersion(ctx, dir)
			switch {
			case err != nil: // a client without a server, or leftovers
			case version < MinVersion:
				tooOld = dir
			case version > newest:
				binDir, newest = dir, version
			}
		}
	}
	if binDir != "" {
		return binDir, nil
	}
	if ctx.Err() != nil { // the servers couldn't be asked
		return "", fmt.Errorf("look for PostgreSQL: %w", context.Cause(ctx))
	}
	found := ""
	if tooOld != "" {
		found = fmt.Sprintf(" (%s is too old)", tooOld)
	}
	return "", fmt.Errorf("%w%s: install version %d or newer, for example with\n\t%s\nor set POSTGRES_BIN to the folder that holds postgres and initdb",
		ErrNotFound, found, MinVersion, installCommand())
}

// inPath returns the folders that PATH leads to. Links are followed: Debian links
// initdb alone into places that lack postgres.
func inPath() []string {
	var dirs []string
	for _, name := range []string{"postgres", "initdb"} {
		file, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if file, err = filepath.EvalSymlinks(file); err == nil {
			dirs = append(dirs, filepath.Dir(file))
		}
	}
	return dirs
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// majorVersion asks the postgres in dir, and makes sure that initdb is there too.
func majorVersion(ctx context.Context, dir string) (int, error) {
	if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
		return 0, fmt.Errorf("look for initdb: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", filepath.Join(dir, "postgres"), err)
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("%s has an unreadable version %q", dir, out)
	}
	return strconv.Atoi(string(match[1]))
}

// installCommand is what to type on this machine to get a server.
func installCommand() string {
	if runtime.GOOS == "darwin" {
		return "brew install postgresql@17"
	}
	release, _ := os.ReadFile("/etc/os-release") // absent: not a Linux we know
	command := installCommandOf(string(release))
	if os.Geteuid() != 0 {
		command = strings.ReplaceAll("sudo "+command, "&& ", "&& sudo ")
	}
	return command
}

// installCommandOf is the command for the Linux that an os-release file describes.
func installCommandOf(release string) string {
	var family string
	for line := range strings.Lines(release) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "ID" || key == "ID_LIKE" {
			family += " " + strings.Trim(value, `"'`)
		}
	}
	for _, id := range strings.Fields(family) {
		switch id {
		case "debian", "ubuntu":
			return "apt-get update && apt-get install -y --no-install-recommends postgresql"
		case "fedora", "rhel", "centos":
			return "dnf install -y postgresql-server"
		case "alpine":
			return "apk add postgresql"
		case "arch":
			return "pacman -S --noconfirm postgresql"
		case "suse", "opensuse":
			return "zypper install -y postgresql-server"
		}
	}
	return "the packages of your system (https://www.postgresql.org/download/)"
}
