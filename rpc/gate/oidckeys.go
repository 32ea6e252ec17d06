package gate

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// ErrIssuer says that the identity provider's keys cannot be had, or not yet: whether a
// token is good is not known. The same call may succeed a moment later.
var ErrIssuer = errors.New("the identity provider's keys cannot be had")

// The keys are fetched again after keysInterval: what the issuer has withdrawn is then
// forgotten. A token with an unknown key makes them be fetched at once, but not more often
// than every keysPause, whoever sends what; nor are they asked for more often when the
// issuer does not answer.
const (
	keysInterval = 10 * time.Minute
	keysPause    = 10 * time.Second
)

// keysWait is how long a call waits for keys that are being fetched.
const keysWait = 3 * time.Second

// The bounds of what is fetched.
const (
	fetchTimeout  = 10 * time.Second
	maxFetched    = 1 << 20
	maxIssuerKeys = 100
)

// issuerKeys are the keys of an identity provider.
type issuerKeys struct {
	config  OIDCConfig
	current atomic.Pointer[keySet]
	ask     chan struct{} // holds one wish to fetch now
}

// A keySet is what one attempt to fetch keys has led to. It is not changed, but for next,
// which is closed when there is a newer one.
type keySet struct {
	keys    *[]jose.JSONWebKey // the last that were had; nil: none ever
	fetched time.Time          // when these were had
	tried   time.Time          // when the attempt was made; zero: none has been
	err     error              // what became of it
	next    chan struct{}
}

func newIssuerKeys(config OIDCConfig) *issuerKeys {
	k := &issuerKeys{config: config, ask: make(chan struct{}, 1)}
	k.current.Store(&keySet{next: make(chan struct{})})
	return k
}

// generation changes with the keys.
func (k *issuerKeys) generation() any { return k.current.Load().keys }

// run fetches keys until ctx is done.
func (k *issuerKeys) run(ctx context.Context) {
	for {
		k.fetch(ctx)
		now := k.current.Load()
		wait := keysInterval
		if now.err != nil {
			wait = keysPause
		}
		if !k.wait(ctx, wait) {
			return
		}
	}
}

// wait returns when it is time to fetch again, or false if it is time to stop.
func (k *issuerKeys) wait(ctx context.Context, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-k.ask:
			// A wish that was on its way while keys were fetched has been fulfilled.
			if !k.config.Clock().Before(k.current.Load().tried.Add(keysPause)) {
				return true
			}
		}
	}
}

// fetch makes one attempt. One that fails leaves the keys that are known.
func (k *issuerKeys) fetch(ctx context.Context) {
	before := k.current.Load()
	after := &keySet{keys: before.keys, fetched: before.fetched, next: make(chan struct{})}
	begun := k.config.Clock()
	keys, err := k.get(ctx)
	after.tried, after.err = k.config.Clock(), err
	switch {
	case ctx.Err() != nil:
		return // stopped, which is nobody's fault
	case err != nil:
		// Those who are waiting learn that it failed, not what the issuer has answered.
		if before.err == nil {
			k.config.Log.Warn("keys of the identity provider cannot be fetched; trying again", "issuer", k.config.Issuer, "error", err)
		}
	default:
		after.fetched = begun
		if before.keys == nil || !sameKeys(*before.keys, keys) {
			after.keys = &keys
			k.config.Log.Info("keys of the identity provider fetched", "issuer", k.config.Issuer, "keys", len(keys))
		} else if before.err != nil {
			k.config.Log.Info("the identity provider answers again", "issuer", k.config.Issuer)
		}
	}
	k.current.Store(after)
	close(before.next)
}

// get asks the issuer where its keys are, and then for them.
func (k *issuerKeys) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, k.config.Client), k.config.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", shortened(err))
	}
	var document struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil {
		return nil, fmt.Errorf("discovery: %w", shortened(err))
	}
	if strings.HasPrefix(k.config.Issuer, "https:") && !strings.HasPrefix(document.Keys, "https:") {
		return nil, errors.New("discovery: jwks_uri must be https, as the issuer is")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, document.Keys, nil)
	if err != nil {
		return nil, errors.New("discovery: jwks_uri is no URL")
	}
	res, err := k.config.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", shortened(err))
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keys: the issuer answers %d", res.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxFetched))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", shortened(err))
	}
	return parseKeys(data)
}

// shortened bounds an error that may hold whatever the issuer has answered.
func shortened(err error) error {
	const most = 300
	if text := err.Error(); len(text) > most {
		return errors.New(text[:most] + " …")
	}
	return err
}

// parseKeys reads those keys of a set that may sign. Others are passed over: they are for
// services that know more than this one.
func parseKeys(data []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("keys: the answer is no set of keys in JSON")
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && maySign(&key) {
			keys = append(keys, key)
		}
		if len(keys) == maxIssuerKeys {
			break
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("keys: none of the %d keys is one that may sign tokens", len(set.Keys))
	}
	return keys, nil
}

// minRSA is how long an RSA key has to be that is not to be found in a cluster's weekend.
const minRSA = 2048

func maySign(key *jose.JSONWebKey) bool {
	if key.Use != "" && key.Use != "sig" {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= minRSA
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// sameKeys reports whether an issuer has neither added nor withdrawn any.
func sameKeys(a, b []jose.JSONWebKey) bool {
	print := func(keys []jose.JSONWebKey) string {
		text, err := json.Marshal(keys)
		if err != nil {
			return err.Error() // of keys that were read from JSON a moment ago
		}
		return string(text)
	}
	return len(a) == len(b) && print(a) == print(b)
}

// verify gives what a token says, once one of the issuer's keys has signed it, and the
// generation of the keys. If the key is not known, the issuer is asked for new ones.
func (k *issuerKeys) verify(ctx context.Context, token *jose.JSONWebSignature, issued time.Time) ([]byte, any, error) {
	deadline := time.NewTimer(keysWait)
	defer deadline.Stop()
	for waited := false; ; waited = true {
		set := k.current.Load()
		payload, known := set.payload(token)
		switch {
		case payload != nil:
			return payload, set.keys, nil
		case known:
			return nil, nil, fault("its signature is not the issuer's")
		// An issuer tells of a key before it signs with it: one that was not there after
		// the token was issued never will be.
		case set.keys != nil && (waited && set.err == nil || !issued.IsZero() && issued.Add(leeway).Before(set.fetched)):
			return nil, nil, fault("it is signed by a key that the issuer does not have")
		case waited:
			return nil, nil, fmt.Errorf("%w: it does not answer as expected; the server's log says more", ErrIssuer)
		}
		if pause := set.tried.Add(keysPause).Sub(k.config.Clock()); !set.tried.IsZero() && pause > 0 {
			return nil, nil, fmt.Errorf("%w: they were asked for a moment ago; try again in %s", ErrIssuer, pause.Round(time.Second))
		}
		select {
		case k.ask <- struct{}{}:
		default: // somebody has asked already
		}
		select {
		case <-set.next:
		case <-deadline.C:
			return nil, nil, fmt.Errorf("%w: it has not answered yet", ErrIssuer)
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// payload is what a token says if one of the keys has signed it, and whether the key that
// it names is among them.
func (s *keySet) payload(token *jose.JSONWebSignature) (payload []byte, known bool) {
	if s.keys == nil {
		return nil, false
	}
	header := token.Signatures[0].Protected
	for i := range *s.keys {
		key := &(*s.keys)[i]
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := token.Verify(key); err == nil {
			return payload, true
		}
		known = known || header.KeyID != ""
	}
	return nil, known
}

// boundedClient fetches no more than is sensible.
func boundedClient() *http.Client {
	return &http.Client{
		Timeout:   fetchTimeout,
		Transport: boundedTransport{http.DefaultTransport},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			switch {
			case len(via) >= 3:
				return errors.New("it redirects too often")
			case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
				return errors.New("it redirects from https to http")
			}
			return nil
		},
	}
}

// A boundedTransport cuts answers that are too long.
type boundedTransport struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxFetched), res.Body}
	}
	return res, err
}
