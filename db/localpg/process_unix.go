//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// account is a user other than ourselves that the server runs as: PostgreSQL
// refuses to be root.
type account struct {
	name     string
	uid, gid uint32
}

// accountFor returns nil when the server may run as we do. As root it returns the
// owner of the data when there are any, else user postgres, else nobody.
func accountFor(pgdata string) (*account, error) {
	info, err := os.Stat(pgdata)
	switch {
	case err == nil:
		owner := info.Sys().(*syscall.Stat_t)
		uid := os.Geteuid()
		if int(owner.Uid) == uid && uid != 0 {
			return nil, nil
		}
		if uid != 0 {
			return nil, fmt.Errorf("the data in %s belong to uid %d and we are uid %d: choose another folder", filepath.Dir(pgdata), owner.Uid, uid)
		}
		if owner.Uid != 0 {
			return &account{name: "uid " + strconv.Itoa(int(owner.Uid)), uid: owner.Uid, gid: owner.Gid}, nil
		}
		return nil, fmt.Errorf("the data in %s belong to root, as which PostgreSQL doesn't run: chown them", filepath.Dir(pgdata))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("look for the data: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("read the ids of user %s: %w", name, err)
		}
		return &account{name: "user " + name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL doesn't run as root, and this system has neither a user postgres nor nobody: add one, or run as another user")
}

// mayEnter says which folder on the way into dir the account can't pass.
func (a *account) mayEnter(dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("look at %s: %w", at, err)
		}
		owner := info.Sys().(*syscall.Stat_t)
		needed := fs.FileMode(0o001)
		switch {
		case owner.Uid == a.uid:
			needed = 0o100
		case owner.Gid == a.gid:
			needed = 0o010
		}
		if info.Mode().Perm()&needed == 0 {
			return fmt.Errorf("we are root, PostgreSQL has to run as %s, and that user can't enter %s on the way to %s: "+
				"choose another folder, for example under /var/lib or /var/tmp, or chmod o+x %s", a.name, at, dir, at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// own gives a file to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	if err := os.Chown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give %s to %s: %w", path, a.name, err)
	}
	return nil
}

func (a *account) suffix() string {
	if a == nil {
		return ""
	}
	return " as " + a.name
}

// childAttributes puts the child in a process group of its own, so that Ctrl-C
// reaches us alone: the server has to outlive the work that needs it.
func childAttributes(a *account) *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attributes.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	dieWithParent(attributes)
	return attributes
}

// lockDir waits for the folder to be ours. The system takes the lock back when we die.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = f.Close() }, nil // a folder that was only read has nothing to lose
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
}

// syncDir makes a rename in the folder survive a crash of the machine.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
