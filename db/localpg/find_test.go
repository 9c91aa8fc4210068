package localpg

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeServer makes a folder whose postgres says that it is of that version.
func fakeServer(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range map[string]string{
		"postgres": "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + " (made up)'\n",
		"initdb":   "#!/bin/sh\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// alone hides the machine's own servers.
func alone(t *testing.T, globs ...string) {
	t.Helper()
	was := installed
	t.Cleanup(func() { installed = was })
	installed = globs
	t.Setenv("PATH", t.TempDir())
	t.Setenv("POSTGRES_BIN", "")
}

func TestFindTakesThePlaceThatTheUserNamed(t *testing.T) {
	alone(t)
	t.Setenv("PATH", fakeServer(t, "17.2"))
	dir := fakeServer(t, "16.4")
	t.Setenv("POSTGRES_BIN", dir)
	if got, err := Find(); got != dir || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, dir)
	}
}

func TestFindDoesNotPassOverANamedPlaceThatWontDo(t *testing.T) {
	alone(t)
	t.Setenv("PATH", fakeServer(t, "17.2"))
	for name, dir := range map[string]string{"empty": t.TempDir(), "too old": fakeServer(t, "14.9")} {
		t.Setenv("POSTGRES_BIN", dir)
		if got, err := Find(); err == nil || !strings.Contains(err.Error(), "POSTGRES_BIN") {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestFindPrefersThePathToWhatIsInstalled(t *testing.T) {
	alone(t, fakeServer(t, "18.0"))
	dir := fakeServer(t, "16.4")
	t.Setenv("PATH", dir)
	if got, err := Find(); got != dir || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, dir)
	}
}

func TestFindFollowsTheLinkOfALoneInitdb(t *testing.T) {
	alone(t)
	dir, links := fakeServer(t, "15.18"), t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "initdb"), filepath.Join(links, "initdb")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", links)
	if got, err := Find(); got != dir || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, dir)
	}
}

func TestFindTakesTheNewestByNumberNotByName(t *testing.T) {
	old, newest := fakeServer(t, "9.6.24"), fakeServer(t, "18.1")
	alone(t, newest, fakeServer(t, "15.18"), old, t.TempDir())
	if got, err := Find(); got != newest || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, newest)
	}
}

func TestWithoutAServerFindSaysWhatToType(t *testing.T) {
	alone(t, fakeServer(t, "13.9"))
	_, err := Find()
	if !errors.Is(err, ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
	if !strings.Contains(err.Error(), installCommand()) || !strings.Contains(err.Error(), "is too old") {
		t.Errorf("the message doesn't help: %v", err)
	}
}

func TestTheInstallCommandIsTheSystemsOwn(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]string{
		"ID=debian\nVERSION_ID=\"12\"\n":               "apt-get install",
		"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n":    "apt-get install",
		"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"": "dnf install",
		"ID=alpine\n": "apk add",
		"ID=arch\n":   "pacman -S",
		"ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"": "zypper install",
		"": "https://www.postgresql.org/download/",
	} {
		if got := installCommandOf(release); !strings.Contains(got, want) {
			t.Errorf("%q: got %q, want %q", release, got, want)
		}
	}
}
