package backend

import "errors"

var (
	// ErrRequest says that a field is outside its limits.
	ErrRequest = errors.New("invalid request")
	// ErrStoreNotFound says that no store has the id or name.
	ErrStoreNotFound = errors.New("store not found")
	// ErrStoreAmbiguous says that several stores bear the name.
	ErrStoreAmbiguous = errors.New("several stores bear this name")
	// ErrModelNotFound says that the store has no such model, or none at all.
	ErrModelNotFound = errors.New("model not found")
	// ErrNotReached says that a query asks for a state that this node has not reached in
	// time.
	ErrNotReached = errors.New("the state of this token has not been reached")
	// ErrOtherEpoch says that a query asks for exactly the state of a token that was given
	// out before the cluster was restored: there is no such state any more.
	ErrOtherEpoch = errors.New("the token is from before the cluster was restored")
	// ErrAborted says that others kept changing what a write depends on.
	ErrAborted = errors.New("others kept changing what the write depends on")
)

// A FieldError says which part of a request is at fault.
type FieldError struct {
	Field string // as a path: question.object, operations[3].tuple
	Err   error
}

// Error implements error.
func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns what is wrong with the field.
func (e *FieldError) Unwrap() error { return e.Err }

// At says that a field, given as a path, is at fault.
func At(field string, err error) error { return &FieldError{field, err} }

// Under puts a fault of a field under the message that holds the field. Other errors
// stay as they are.
func Under(path string, err error) error {
	var fe *FieldError
	if errors.As(err, &fe) {
		return &FieldError{path + "." + fe.Field, fe.Err}
	}
	return err
}
