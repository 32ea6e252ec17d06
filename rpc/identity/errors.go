package identity

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrUnauthenticated says that the caller has no credentials, or none that are valid
	// here and now. Its text never holds any of them.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrNoCredentials is ErrUnauthenticated of a call that brings none.
	ErrNoCredentials = fmt.Errorf("%w: the call brings no credentials, and the server asks for some: Authorization: Bearer KEY", ErrUnauthenticated)
	// ErrExpired is ErrUnauthenticated of credentials that were valid once.
	ErrExpired = fmt.Errorf("%w: the credentials have expired", ErrUnauthenticated)
	// ErrForbidden says that the caller is known, and may not do this.
	ErrForbidden = errors.New("not permitted")
	// ErrNotMine says that a token is not of the kind that was asked: another may know it.
	ErrNotMine = errors.New("the token is of another kind")
	// ErrGrant says that the text of a grant cannot be read.
	ErrGrant = errors.New("invalid grant")
)

// Expired is ErrExpired with the instant.
func Expired(at time.Time) error { return expiredError{at} }

type expiredError struct{ at time.Time }

func (e expiredError) Error() string {
	return fmt.Sprintf("%s at %s", ErrExpired, e.at.UTC().Format(time.RFC3339))
}

func (expiredError) Unwrap() error { return ErrExpired }
