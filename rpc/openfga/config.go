package openfga

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
)

// The limits that OpenFGA's protocol fixes or that a server of it has by default.
const (
	DefaultMaxDepth              = 25
	DefaultMaxTuplesPerWrite     = 100
	DefaultMaxChecksPerBatch     = 50
	DefaultMaxListResults        = 1000
	DefaultListDeadline          = 3 * time.Second
	DefaultRequestTimeout        = 3 * time.Second
	DefaultMaxTypesPerModel      = 100
	DefaultMaxModelBytes         = 256 << 10
	DefaultMaxStoredContextBytes = 32 << 10
	DefaultMaxAssertionsBytes    = 64_000
	DefaultMaxChangesPage        = 100
	DefaultMaxMessageBytes       = 512 * 1204 // a slip of theirs, and so the limit that clients have met
)

// Config is what a Face may be told. The zero value of every field is its default,
// which is OpenFGA's.
type Config struct {
	// MaxDepth is how many steps of resolution one question may nest, 25 by default. A
	// request with the header Remit-Exact has no such limit.
	MaxDepth int
	// MaxTuplesPerWrite bounds the writes and deletes of one Write together, 100 by
	// default.
	MaxTuplesPerWrite int
	// MaxChecksPerBatch bounds the checks of one BatchCheck, 50 by default.
	MaxChecksPerBatch int

	// ListObjectsMaxResults and ListUsersMaxResults bound the results of one answer,
	// 1000 by default; what is beyond is left out. A negative number is no limit.
	ListObjectsMaxResults int
	ListUsersMaxResults   int
	// ListObjectsDeadline and ListUsersDeadline are how long an answer may be looked
	// for, 3 s by default; then it is what was found so far. A negative one is none.
	ListObjectsDeadline time.Duration
	ListUsersDeadline   time.Duration

	// MaxTypesPerModel bounds the types of a model, 100 by default.
	MaxTypesPerModel int
	// MaxModelBytes bounds a model as protobuf, 256 KiB by default.
	MaxModelBytes int
	// MaxStoredContextBytes bounds the context stored with a tuple, as protobuf, 32 KiB
	// by default.
	MaxStoredContextBytes int
	// MaxAssertionsBytes bounds the assertions about one model, as protobuf, 64 000 B by
	// default.
	MaxAssertionsBytes int

	// MaxChangesPage bounds a page of ReadChanges, 100 changes by default.
	MaxChangesPage int
	// ChangelogHorizonOffset hides the changes of this last while from ReadChanges, 0 by
	// default.
	ChangelogHorizonOffset time.Duration

	// RequestTimeout ends any request that takes longer, 3 s by default. A negative one
	// leaves it to the client.
	RequestTimeout time.Duration
	// MaxMessageBytes bounds a request as protobuf, 616 448 B by default.
	MaxMessageBytes int

	// AuthZENBaseURL is where clients reach the HTTP interface, as AuthZEN's discovery
	// tells them: an absolute URL of http or https. Discovery is refused if it is empty, as
	// by default.
	AuthZENBaseURL string

	// CORSOrigins are the origins whose pages may call the HTTP interface, and
	// CORSHeaders the headers that they may send; all by default.
	CORSOrigins []string
	CORSHeaders []string

	// Log receives what needs a person; nothing is logged by default.
	Log *slog.Logger

	// Interceptors stand before the face's own; none by default.
	Interceptors []connect.ServerInterceptor
	// Guards stand behind what turns errors into OpenFGA's and before everything that reads
	// a message: they may refuse a call. None by default.
	Guards []connect.ServerInterceptor
	// Admit is asked about a request of the JSON interface before its body is read, and its
	// context is the call's. By default everybody is admitted.
	Admit func(context.Context, http.Header) (context.Context, error)
}

// Validate reports every fault.
func (c *Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"MaxDepth", c.MaxDepth},
		{"MaxTuplesPerWrite", c.MaxTuplesPerWrite},
		{"MaxChecksPerBatch", c.MaxChecksPerBatch},
		{"MaxTypesPerModel", c.MaxTypesPerModel},
		{"MaxModelBytes", c.MaxModelBytes},
		{"MaxStoredContextBytes", c.MaxStoredContextBytes},
		{"MaxAssertionsBytes", c.MaxAssertionsBytes},
		{"MaxChangesPage", c.MaxChangesPage},
		{"MaxMessageBytes", c.MaxMessageBytes},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s is %d, must not be negative", f.name, f.value))
		}
	}
	if c.ChangelogHorizonOffset < 0 {
		errs = append(errs, fmt.Errorf("ChangelogHorizonOffset is %s, must not be negative", c.ChangelogHorizonOffset))
	}
	if _, err := normalBaseURL(c.AuthZENBaseURL); err != nil {
		errs = append(errs, fmt.Errorf("AuthZENBaseURL %w", err))
	}
	// A list that outlasts its request would be an error where it was to be cut short.
	d := *c
	d.defaults()
	if d.RequestTimeout > 0 {
		for _, f := range []struct {
			name  string
			value time.Duration
		}{
			{"ListObjectsDeadline", d.ListObjectsDeadline},
			{"ListUsersDeadline", d.ListUsersDeadline},
		} {
			if f.value > d.RequestTimeout {
				errs = append(errs, fmt.Errorf("%s is %s, must not exceed RequestTimeout, %s", f.name, f.value, d.RequestTimeout))
			}
		}
	}
	return errors.Join(errs...)
}

// defaults fills in what is zero.
func (c *Config) defaults() {
	c.MaxDepth = cmp.Or(c.MaxDepth, DefaultMaxDepth)
	c.MaxTuplesPerWrite = cmp.Or(c.MaxTuplesPerWrite, DefaultMaxTuplesPerWrite)
	c.MaxChecksPerBatch = cmp.Or(c.MaxChecksPerBatch, DefaultMaxChecksPerBatch)
	c.ListObjectsMaxResults = cmp.Or(c.ListObjectsMaxResults, DefaultMaxListResults)
	c.ListUsersMaxResults = cmp.Or(c.ListUsersMaxResults, DefaultMaxListResults)
	c.ListObjectsDeadline = cmp.Or(c.ListObjectsDeadline, DefaultListDeadline)
	c.ListUsersDeadline = cmp.Or(c.ListUsersDeadline, DefaultListDeadline)
	c.MaxTypesPerModel = cmp.Or(c.MaxTypesPerModel, DefaultMaxTypesPerModel)
	c.MaxModelBytes = cmp.Or(c.MaxModelBytes, DefaultMaxModelBytes)
	c.MaxStoredContextBytes = cmp.Or(c.MaxStoredContextBytes, DefaultMaxStoredContextBytes)
	c.MaxAssertionsBytes = cmp.Or(c.MaxAssertionsBytes, DefaultMaxAssertionsBytes)
	c.MaxChangesPage = cmp.Or(c.MaxChangesPage, DefaultMaxChangesPage)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, DefaultRequestTimeout)
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, DefaultMaxMessageBytes)
	if base, err := normalBaseURL(c.AuthZENBaseURL); err == nil {
		c.AuthZENBaseURL = base
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// normalBaseURL is a base URL without a slash at its end.
func normalBaseURL(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("must be a URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("must have the scheme http or https")
	case u.Hostname() == "":
		return "", errors.New("must have a host")
	case strings.Contains(u.Host, ","):
		return "", errors.New("must have one host")
	case u.User != nil:
		return "", errors.New("must not say who calls")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New("must have neither query nor fragment")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u.String(), nil
}
