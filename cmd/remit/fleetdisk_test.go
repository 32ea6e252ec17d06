package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// smallDisk is the size of a disk that can be filled, in MiB, smallReserve what its node
	// keeps free of it, and left what is left of it when it is full: less than the reserve, and
	// more than the nodes of a test write until they notice.
	smallDisk    = 1024
	smallReserve = 256
	left         = 224
)

// A fleetDisk is a small file system of one node's own. It can be filled, and where a file
// can be mounted also frozen: whoever writes then waits, as on a disk that hangs.
type fleetDisk struct {
	t      *testing.T
	node   *fleetNode
	dir    string
	keeper *diskKeeper // nil: it cannot be frozen
	frozen bool
}

// giveDisk puts a node's data on a disk of its own, before the node is started. Where that is
// not permitted it is one in memory, which cannot be frozen, or none (nil), which the log of
// the test then says.
func (f *fleet) giveDisk(n *fleetNode) *fleetDisk {
	t := f.t
	d := &fleetDisk{t: t, node: n, dir: t.TempDir()}
	err := d.mountFile()
	if err != nil {
		t.Logf("no disk is slowed or stalled: %v", err)
		if err := command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", smallDisk), "tmpfs", d.dir); err != nil {
			t.Logf("nor is one filled, since none can be mounted here: %v", err)
			return nil
		}
	}
	t.Cleanup(d.remove)
	if err == nil {
		if d.keeper, err = keepDisk(d.dir); err != nil {
			t.Logf("no disk is slowed or stalled: %v", err)
		}
	}
	n.dir = filepath.Join(d.dir, n.name)
	n.flags = append(n.flags, fmt.Sprintf("--min-free-mib=%d", smallReserve))
	f.expected = append(f.expected, `msg="disk nearly full, writes are refused"`, "no space left on device",
		`msg="log cannot be written, giving up leadership"`)
	return d
}

// mountFile makes a file system in a file and mounts it. All its space is for whoever runs
// here, and reading it writes nothing.
func (d *fleetDisk) mountFile() error {
	image := filepath.Join(d.t.TempDir(), "disk")
	file, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(smallDisk<<20), file.Close()); err != nil {
		return err
	}
	if err := command("mkfs.ext4", "-q", "-m", "0", "-J", "size=16", image); err != nil {
		return err
	}
	return command("mount", "-o", "loop,noatime", image, d.dir)
}

// command runs a program that says nothing unless it fails.
func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// remove ends the node, whose writes go on for that, and unmounts the disk.
func (d *fleetDisk) remove() {
	if d.frozen {
		// Should the keeper have been ended, this does it.
		_ = errors.Join(d.keeper.say("enough"), d.keeper.answer(), thawDisk(d.dir))
	}
	d.node.end()
	if err := command("umount", d.dir); err != nil {
		d.t.Error(errors.Join(err, command("umount", "-l", d.dir)))
	}
	if d.keeper != nil {
		if err := d.keeper.end(); err != nil {
			d.t.Errorf("who froze the disk: %v", err)
		}
	}
}

// freezes reports whether the disk can be frozen.
func (d *fleetDisk) freezes() bool { return d != nil && d.keeper != nil }

// freeze has all writes wait, for pulses of a time with a time between them, until thaw is
// called. After most it ends by itself.
func (d *fleetDisk) freeze(p diskPulses) (thaw func()) {
	d.t.Helper()
	if d.frozen {
		d.t.Fatalf("the disk of %s is frozen already", d.node.name)
	}
	if err := d.keeper.say(p.String()); err != nil {
		d.t.Fatal(err)
	}
	d.frozen = true
	return func() {
		d.t.Helper()
		d.frozen = false
		if err := errors.Join(d.keeper.say("enough"), d.keeper.answer()); err != nil {
			d.t.Fatal(err)
		}
	}
}

// fill writes a file until no more than is left is free. The node writes, too, so it looks
// again. Space is taken and not written: a slow disk is another fault.
func (d *fleetDisk) fill() (empty func() error, err error) {
	name := filepath.Join(d.dir, "ballast")
	for size := int64(0); ; {
		var is syscall.Statfs_t
		if err := syscall.Statfs(d.dir, &is); err != nil {
			return nil, err
		}
		const piece = 1 << 20
		room := int64(is.Bavail)*int64(is.Bsize) - left<<20
		if room < piece {
			return func() error { return os.Remove(name) }, nil
		}
		size += room
		if err := command("fallocate", "-l", fmt.Sprint(size), name); err != nil {
			return nil, err
		}
	}
}

// diskPulses are how a disk is frozen: for a time, then after a time between again, until
// most is over.
type diskPulses struct{ frozen, between, most time.Duration }

// stalled is one pulse.
func stalled(length time.Duration) diskPulses {
	return diskPulses{frozen: length, between: length, most: length}
}

// String is the form of an order to a diskKeeper.
func (p diskPulses) String() string {
	return fmt.Sprintln(int64(p.frozen), int64(p.between), int64(p.most))
}

// A diskKeeper is a process that freezes a file system and thaws it again, whatever becomes
// of the test: nothing that waits for a frozen one can be ended, be it by force.
type diskKeeper struct {
	cmd     *exec.Cmd
	orders  io.WriteCloser
	answers *bufio.Scanner
}

// keptDisk names the directory whose file system this process is to keep.
const keptDisk = "REMIT_TEST_KEPT_DISK"

// keepDisk starts a keeper, in a session of its own: what ends the test does not end it.
func keepDisk(dir string) (k *diskKeeper, err error) {
	k = &diskKeeper{cmd: exec.Command(os.Args[0])}
	k.cmd.Env = append(os.Environ(), keptDisk+"="+dir)
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if k.orders, err = k.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	answers, err := k.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	k.answers = bufio.NewScanner(answers)
	if err := k.cmd.Start(); err != nil {
		return nil, err
	}
	if err := errors.Join(k.say(stalled(time.Millisecond).String()), k.answer()); err != nil {
		return nil, errors.Join(err, k.end())
	}
	return k, nil
}

func (k *diskKeeper) say(order string) error {
	_, err := fmt.Fprintln(k.orders, strings.TrimSpace(order))
	return err
}

// answer waits until the order given last has been carried out.
func (k *diskKeeper) answer() error {
	if !k.answers.Scan() {
		return errors.Join(errors.New("who keeps the disk has ended"), k.answers.Err())
	}
	if text := k.answers.Text(); text != diskDone {
		return errors.New(text)
	}
	return nil
}

func (k *diskKeeper) end() error { return errors.Join(k.orders.Close(), k.cmd.Wait()) }

// diskDone is what a keeper answers when the disk is thawed.
const diskDone = "done"

// serveDisk is what a keeper does. When whoever gives it orders has ended, it thaws the file
// system and lets go of it.
func serveDisk(dir string, from io.Reader, to io.Writer) {
	signal.Ignore(syscall.SIGPIPE) // nobody may listen any more
	orders := make(chan string)
	go func() {
		defer close(orders)
		for lines := bufio.NewScanner(from); lines.Scan(); {
			orders <- lines.Text()
		}
	}()
	for order := range orders {
		var frozen, between, most int64
		if _, err := fmt.Sscan(order, &frozen, &between, &most); err != nil {
			continue // it was to end what has ended by itself
		}
		answer := diskDone
		p := diskPulses{time.Duration(frozen), time.Duration(between), time.Duration(most)}
		if err := p.run(dir, orders); err != nil {
			answer = err.Error()
		}
		_, _ = fmt.Fprintln(to, answer)
	}
	_ = command("umount", "-l", dir) // the test has, unless it was ended
}

// run freezes and thaws until most is over or there is another order.
func (p diskPulses) run(dir string, orders <-chan string) error {
	root, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	over := time.NewTimer(p.most)
	defer over.Stop()
	for ended := false; ; {
		wait := func(pulse *time.Timer) {
			defer pulse.Stop()
			select {
			case <-pulse.C:
			case <-over.C:
				ended = true
			case <-orders:
				ended = true
			}
		}
		frozen := time.NewTimer(p.frozen) // what it takes to freeze counts
		if err := controlDisk(root, freezeFS); err != nil {
			return fmt.Errorf("freeze %s: %w", dir, err)
		}
		wait(frozen)
		if err := controlDisk(root, thawFS); err != nil {
			return fmt.Errorf("thaw %s: %w", dir, err)
		}
		if ended {
			return nil
		}
		if wait(time.NewTimer(p.between)); ended {
			return nil
		}
	}
}

// The numbers of Linux's ioctls FIFREEZE and FITHAW. Elsewhere no file is mounted, and
// nobody uses them.
const (
	freezeFS = 0xc0045877
	thawFS   = 0xc0045878
)

func controlDisk(root *os.File, what uintptr) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, root.Fd(), what, 0); errno != 0 {
		return errno
	}
	return nil
}

// thawDisk thaws a file system; one that is not frozen is an error.
func thawDisk(dir string) error {
	root, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(controlDisk(root, thawFS), root.Close())
}
