package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"

	"go.etcd.io/bbolt"
)

// checkLogFile refuses a log's file whose pages cannot be as bbolt left them. Opening such
// a file, bbolt would panic in a goroutine of its own, or the process would end at an
// address behind the end of the file; and of two descriptions of the file, of which the
// newer one is damaged, bbolt would take the older without a word, and with it a log that
// lacks what was acknowledged last.
//
// It reads what bbolt itself reads at the start: the pages of the tree and the keys. The
// entries have checksums of their own.
func checkLogFile(name string) (err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 { // one that is empty is made anew, which a node with an id refuses
		return err
	}
	w := &pageWalk{file: f, size: info.Size()}
	if err := w.metas(); err != nil {
		return err
	}
	// What another process is changing looks damaged. Now it is safe to have bbolt lock it.
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := w.metas(); err != nil {
		return err
	}
	w.seen = make([]bool, w.pages)
	return w.page(w.root, nil, nil)
}

// The layout of bbolt's files, in the byte order of the machine. A page begins with its
// id, flags, the number of its elements, and how many pages it goes on for.
const (
	pageHeader  = 16
	pageBranch  = 1
	pageLeaf    = 2
	branchSize  = 16 // of an element: place and size of the key, page
	leafSize    = 16 // of an element: flags, place, size of the key, size of the value
	bucketEntry = 1  // the flag of a leaf's element that is a bucket
	bucketSize  = 16 // of its value, at least: the page of its root, 0 if it follows, and a number

	metaMagic = 0xED0CDAED
	metaSize  = 64 // its last eight bytes are the sum of the others
)

var order = binary.NativeEndian

// A pageWalk goes through the pages that count.
type pageWalk struct {
	file  *os.File
	size  int64
	unit  int64  // of a page
	root  uint64 // where the tree begins
	pages uint64 // how many there are, used or not
	seen  []bool
}

func damagedFile(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", errDamaged, logFile, fmt.Sprintf(format, args...))
}

// metas reads the two descriptions of the file, and takes the newer one.
func (w *pageWalk) metas() error {
	var newest uint64
	w.unit = 0
	for i := range int64(2) {
		meta := make([]byte, metaSize)
		if err := w.read(meta, i*w.unit+pageHeader); err != nil {
			return err
		}
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:metaSize-8]) // a hash's Write never fails
		if order.Uint32(meta) != metaMagic || order.Uint64(meta[metaSize-8:]) != sum.Sum64() {
			return damagedFile("description %d of the file has a wrong checksum", i+1)
		}
		unit, txid := int64(order.Uint32(meta[8:])), order.Uint64(meta[48:])
		if unit < metaSize+pageHeader || w.unit != 0 && unit != w.unit {
			return damagedFile("pages of %d bytes", unit)
		}
		w.unit = unit
		if txid >= newest {
			newest, w.root, w.pages = txid, order.Uint64(meta[16:]), order.Uint64(meta[40:])
		}
	}
	if w.pages > uint64(w.size/w.unit) {
		return damagedFile("it is cut off: it has %d bytes and should have %d pages of %d", w.size, w.pages, w.unit)
	}
	return nil
}

func (w *pageWalk) read(b []byte, at int64) error {
	if at+int64(len(b)) > w.size {
		return damagedFile("it is cut off: it has %d bytes, and more at %d", w.size, at)
	}
	if n, err := w.file.ReadAt(b, at); err != nil && (!errors.Is(err, io.EOF) || n < len(b)) {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}

// page goes through a page and those under it, whose keys are from least on and below most;
// nil is no bound.
func (w *pageWalk) page(id uint64, least, most []byte) error {
	if id < 2 || id >= w.pages {
		return damagedFile("page %d of %d", id, w.pages)
	}
	head := make([]byte, w.unit)
	if err := w.read(head, int64(id)*w.unit); err != nil {
		return err
	}
	kind, count, more := order.Uint16(head[8:]), int(order.Uint16(head[10:])), uint64(order.Uint32(head[12:]))
	if own := order.Uint64(head); own != id {
		return damagedFile("page %d calls itself %d", id, own)
	}
	if more >= w.pages-id {
		return damagedFile("page %d goes on for %d pages of %d", id, more, w.pages)
	}
	for i := id; i <= id+more; i++ {
		if w.seen[i] {
			return damagedFile("page %d has two places", i)
		}
		w.seen[i] = true
	}
	p := &walkedPage{pageWalk: w, id: id, head: head, size: int64(more+1) * w.unit}
	switch kind {
	case pageBranch:
		return p.branch(count, least, most)
	case pageLeaf:
		return p.leaf(count, least, most)
	}
	return damagedFile("page %d is of kind %d", id, kind)
}

// A walkedPage is a page and those that it goes on for.
type walkedPage struct {
	*pageWalk
	id   uint64
	head []byte // its beginning
	size int64
}

// bytes are some of the page's.
func (p *walkedPage) bytes(at, n int64) ([]byte, error) {
	if at < pageHeader || n < 0 || at+n > p.size {
		return nil, damagedFile("page %d of %d bytes names %d at %d", p.id, p.size, n, at)
	}
	if at+n <= int64(len(p.head)) {
		return p.head[at : at+n], nil
	}
	b := make([]byte, n)
	return b, p.read(b, int64(p.id)*p.unit+at)
}

// key is the key of an element, which must be in the order.
func (p *walkedPage) key(at, n int64, last, least, most []byte) ([]byte, error) {
	key, err := p.bytes(at, n)
	if err != nil {
		return nil, err
	}
	if last != nil && bytes.Compare(key, last) <= 0 || bytes.Compare(key, least) < 0 || most != nil && bytes.Compare(key, most) >= 0 {
		return nil, damagedFile("page %d: the keys are not in order", p.id)
	}
	return key, nil
}

func (p *walkedPage) branch(count int, least, most []byte) error {
	keys, below := make([][]byte, count), make([]uint64, count)
	var last []byte
	for i := range count {
		at := int64(pageHeader + i*branchSize)
		e, err := p.bytes(at, branchSize)
		if err != nil {
			return err
		}
		if last, err = p.key(at+int64(order.Uint32(e)), int64(order.Uint32(e[4:])), last, least, most); err != nil {
			return err
		}
		keys[i], below[i] = last, order.Uint64(e[8:])
	}
	for i, id := range below {
		end := most
		if i+1 < count {
			end = keys[i+1]
		}
		if err := p.page(id, keys[i], end); err != nil {
			return err
		}
	}
	return nil
}

func (p *walkedPage) leaf(count int, least, most []byte) error {
	var last []byte
	for i := range count {
		at := int64(pageHeader + i*leafSize)
		e, err := p.bytes(at, leafSize)
		if err != nil {
			return err
		}
		place, size := at+int64(order.Uint32(e[4:])), int64(order.Uint32(e[8:]))
		if last, err = p.key(place, size, last, least, most); err != nil {
			return err
		}
		value, length := place+size, int64(order.Uint32(e[12:]))
		if value+length > p.size {
			return damagedFile("page %d of %d bytes names %d at %d", p.id, p.size, length, value)
		}
		if order.Uint32(e)&bucketEntry == 0 {
			continue
		}
		bucket, err := p.bytes(value, max(length, bucketSize))
		if err != nil {
			return err
		}
		if root := order.Uint64(bucket); root != 0 {
			if err := p.page(root, nil, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
