package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/remit-authz/remit/graph"
)

// A direction is which of the two orders of tuples is read.
type direction bool

const (
	forward direction = false
	reverse direction = true
)

func (d direction) spaces() (latest, past space) {
	if d == reverse {
		return spaceReverse, spaceReversePast
	}
	return spaceForward, spaceForwardPast
}

// visible merges the latest rows with the past ones: of each tuple at most one version
// is visible. low and high bound the keys behind the store; a nil high is no bound. f
// returns false to stop.
func (p *Past) visible(r pebble.Reader, d direction, low, high []byte, f func(graph.Userset, graph.Edge, int64) bool) (err error) {
	if low == nil {
		return nil // nothing follows the last possible key
	}
	latestSpace, pastSpace := d.spaces()
	latest, err := p.iterator(r, latestSpace, low, high)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, latest.Close()) }()
	past, err := p.iterator(r, pastSpace, low, high)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, past.Close()) }()

	latest.First()
	past.First()
	for latest.Valid() || past.Valid() {
		suffix := nextSuffix(latest, past)
		row, found, err := p.version(r, d, suffix, latest, past)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		u, sub := readForwardSuffix(suffix)
		if d == reverse {
			u, sub = readReverseSuffix(suffix)
		}
		edge, err := edgeOf(sub, &row)
		if err != nil {
			return err
		}
		if !f(u, edge, row.written) {
			return nil
		}
	}
	return errors.Join(latest.Error(), past.Error())
}

func (p *Past) iterator(r pebble.Reader, sp space, low, high []byte) (*pebble.Iterator, error) {
	prefix := storePrefix(sp, p.store)
	upper := prefixEnd(prefix)
	if high != nil {
		upper = append(bytes.Clone(prefix), high...)
	}
	return r.NewIter(&pebble.IterOptions{LowerBound: append(bytes.Clone(prefix), low...), UpperBound: upper})
}

// nextSuffix is the tuple that comes next in either iterator.
func nextSuffix(latest, past *pebble.Iterator) []byte {
	var suffix []byte
	if latest.Valid() {
		suffix = latest.Key()[prefixSize:]
	}
	if past.Valid() {
		if k := past.Key(); suffix == nil || bytes.Compare(k[prefixSize:len(k)-8], suffix) < 0 {
			suffix = k[prefixSize : len(k)-8]
		}
	}
	return bytes.Clone(suffix)
}

// version finds the visible version of one tuple and moves both iterators behind it.
func (p *Past) version(r pebble.Reader, d direction, suffix []byte, latest, past *pebble.Iterator) (row tupleRow, found bool, err error) {
	if latest.Valid() && bytes.Equal(latest.Key()[prefixSize:], suffix) {
		if row, err = p.row(r, d, suffix, 0, latest); err != nil {
			return row, false, err
		}
		found = row.created <= p.revision
		latest.Next()
	}
	at := func() bool {
		return past.Valid() && bytes.HasPrefix(past.Key()[prefixSize:], suffix)
	}
	if !at() {
		return row, found, nil
	}
	_, pastSpace := d.spaces()
	key := append(storePrefix(pastSpace, p.store), suffix...)
	if !found {
		past.SeekGE(be64(bytes.Clone(key), uint64(p.revision)+1))
		if at() {
			k := past.Key()
			deleted := graph.Revision(binary.BigEndian.Uint64(k[len(k)-8:]))
			if row, err = p.row(r, d, suffix, deleted, past); err != nil {
				return row, false, err
			}
			found = row.created <= p.revision
		}
	}
	if at() {
		past.SeekGE(prefixEnd(key))
	}
	return row, found, nil
}

// row reads a version: the forward rows hold it, the reverse ones only point there.
func (p *Past) row(r pebble.Reader, d direction, suffix []byte, deleted graph.Revision, it *pebble.Iterator) (tupleRow, error) {
	if d == forward {
		v, err := it.ValueAndErr()
		if err != nil {
			return tupleRow{}, err
		}
		return decodeTupleRow(bytes.Clone(v))
	}
	u, sub := readReverseSuffix(suffix)
	key := forwardKey(p.store, u, sub)
	if deleted != 0 {
		key = forwardPastKey(p.store, u, sub, deleted)
	}
	v, ok, err := get(r, key)
	if err != nil {
		return tupleRow{}, err
	}
	if !ok {
		return tupleRow{}, fmt.Errorf("%w: no forward row %x", ErrCorrupt, key)
	}
	return decodeTupleRow(v)
}
