package fsm

import (
	"bytes"
	"fmt"

	"github.com/oklog/ulid/v2"
)

// A StoreID names a store for ever. It is a ULID; the zero StoreID is no store, and
// stands in keys for what belongs to the whole group.
type StoreID [16]byte

// ParseStoreID reads the 26 characters of a ULID.
func ParseStoreID(s string) (StoreID, error) {
	id, err := parseULID(s)
	if err != nil {
		return StoreID{}, fmt.Errorf("%w: store id %q is not a ULID", ErrInvalid, s)
	}
	return StoreID(id), nil
}

// String is the id as a ULID.
func (id StoreID) String() string { return ulid.ULID(id).String() }

// IsZero reports whether the id is no store.
func (id StoreID) IsZero() bool { return id == StoreID{} }

// Compare orders ids as their keys are ordered.
func (id StoreID) Compare(o StoreID) int { return bytes.Compare(id[:], o[:]) }

// A ModelID names one version of a store's model. It is a ULID.
type ModelID [16]byte

// ParseModelID reads the 26 characters of a ULID.
func ParseModelID(s string) (ModelID, error) {
	id, err := parseULID(s)
	if err != nil {
		return ModelID{}, fmt.Errorf("%w: model id %q is not a ULID", ErrInvalid, s)
	}
	return ModelID(id), nil
}

// String is the id as a ULID.
func (id ModelID) String() string { return ulid.ULID(id).String() }

// IsZero reports whether the id is no model.
func (id ModelID) IsZero() bool { return id == ModelID{} }

// Compare orders ids as their keys are ordered.
func (id ModelID) Compare(o ModelID) int { return bytes.Compare(id[:], o[:]) }

// parseULID accepts only what String gives, so that an id has one spelling.
func parseULID(s string) (ulid.ULID, error) {
	id, err := ulid.ParseStrict(s)
	if err != nil {
		return id, err
	}
	if id.String() != s {
		return id, ulid.ErrInvalidCharacters
	}
	return id, nil
}
