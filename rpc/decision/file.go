package decision

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"gopkg.in/natefinch/lumberjack.v2"
)

// A sink is where events go.
type sink interface {
	io.Writer
	// mend removes a line that was cut off, so that the next one stands by itself.
	mend() error
	// reopen begins again with the file of the same name.
	reopen() error
	io.Closer
}

// A file is a sink that is set aside when it has grown. The library does that, and removes
// what is too old; what it does not do is mend a file that a full disk or the end of the
// process left with half a line.
type file struct{ *lumberjack.Logger }

// Probe finds out whether the file can be written to, and makes it if there is none.
func (c *Config) Probe() error {
	if !c.logs() || c.Output != nil || c.File == Stdout {
		return nil
	}
	_, err := openFile(c)
	return err
}

// openFile opens a file, or makes it, for the eyes of its owner alone.
func openFile(c *Config) (*file, error) {
	f := &file{&lumberjack.Logger{Filename: c.File, MaxSize: c.MaxMiB, MaxBackups: c.Keep, MaxAge: c.KeepDays}}
	if err := f.mend(); err != nil {
		return nil, fmt.Errorf("open the decision log: %w", err)
	}
	return f, nil
}

// mend removes what stands behind the last end of a line. It makes the file if there is
// none.
func (f *file) mend() (err error) {
	if err := f.Close(); err != nil {
		return err
	}
	if info, err := os.Stat(f.Filename); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file; %s is standard output", f.Filename, Stdout)
	}
	opened, err := os.OpenFile(f.Filename, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := opened.Close(); err == nil {
			err = closeErr
		}
	}()
	info, err := opened.Stat()
	if err != nil {
		return err
	}
	// A line is much shorter than this.
	tail := make([]byte, min(info.Size(), maxLine))
	if len(tail) == 0 {
		return nil
	}
	if _, err := opened.ReadAt(tail, info.Size()-int64(len(tail))); err != nil {
		return err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if end == len(tail) {
		return nil
	}
	if end == 0 && info.Size() > maxLine {
		return fmt.Errorf("%s is no log: its last line has more than %d bytes", f.Filename, maxLine)
	}
	return opened.Truncate(info.Size() - int64(len(tail)-end))
}

// reopen lets go of the file: the next event opens the one that has its name then.
func (f *file) reopen() error { return f.Close() }

// A stream is a sink that cannot be rotated, nor mended but by ending the line.
type stream struct{ io.Writer }

func (s stream) mend() error {
	_, err := s.Write([]byte("\n"))
	return err
}

func (s stream) reopen() error { return nil }

// Close leaves the writer open: it is not the log's.
func (s stream) Close() error { return nil }
