package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Credentials say who calls. They are asked before every attempt, so what they say may
// change; they must be safe for concurrent use.
type Credentials interface {
	// Bearer is the text behind "Bearer " in the header Authorization.
	Bearer(ctx context.Context) (string, error)
}

// Key is a key of the cluster's own, as "remit key create" shows it.
type Key string

// Bearer implements Credentials.
func (k Key) Bearer(context.Context) (string, error) { return string(k), nil }

// String hides the key from logs.
func (k Key) String() string { return "client.Key(hidden)" }

// GoString hides the key from %#v.
func (k Key) GoString() string { return k.String() }

// KeyFile is a key in a file, which is read anew when it changes: a key that is rotated
// there is used from the next call on.
func KeyFile(path string) Credentials { return &keyFile{path: path} }

type keyFile struct {
	path string

	mu       sync.Mutex
	modified time.Time
	size     int64
	key      string
}

// Bearer implements Credentials.
func (f *keyFile) Bearer(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil {
		return "", fmt.Errorf("key file: %w", err)
	}
	if f.key != "" && info.ModTime().Equal(f.modified) && info.Size() == f.size {
		return f.key, nil
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		return "", fmt.Errorf("key file: %w", err)
	}
	key := strings.TrimSpace(string(b))
	if key == "" || strings.ContainsAny(key, " \t\r\n") {
		return "", fmt.Errorf("key file %s must hold one key and nothing else", f.path)
	}
	f.key, f.modified, f.size = key, info.ModTime(), info.Size()
	return key, nil
}

// OAuth2 takes tokens from a source of the package x/oauth2, which fetches and renews
// them. Of a token of OpenID Connect the id token is sent, if there is one.
func OAuth2(source oauth2.TokenSource) Credentials {
	return oauth2Credentials{oauth2.ReuseTokenSource(nil, source)}
}

type oauth2Credentials struct{ source oauth2.TokenSource }

// Bearer implements Credentials.
func (c oauth2Credentials) Bearer(context.Context) (string, error) {
	t, err := c.source.Token()
	if err != nil {
		return "", fmt.Errorf("token of the identity provider: %w", err)
	}
	if id, ok := t.Extra("id_token").(string); ok && id != "" {
		return id, nil
	}
	return t.AccessToken, nil
}

// OIDC says how a service gets tokens from an identity provider, as client credentials
// (RFC 6749, section 4.4). All fields but Audience and Scopes are required.
type OIDC struct {
	// Issuer is the provider's URL, where its discovery document is found.
	Issuer string
	// ClientID and ClientSecret are the service's own.
	ClientID, ClientSecret string
	// Audience is asked for by the parameter of that name, which some providers require.
	Audience string
	// Scopes are asked for.
	Scopes []string
}

// Discover finds the provider's token endpoint. The context bounds the discovery; the
// requests for tokens that follow are bounded by 30 seconds each.
func (o OIDC) Discover(ctx context.Context) (Credentials, error) {
	if o.Issuer == "" || o.ClientID == "" || o.ClientSecret == "" {
		return nil, errors.New("issuer, client id and client secret are all required")
	}
	provider, err := oidc.NewProvider(ctx, o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discover the identity provider: %w", err)
	}
	config := clientcredentials.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret,
		TokenURL: provider.Endpoint().TokenURL, Scopes: o.Scopes,
	}
	if o.Audience != "" {
		config.EndpointParams = map[string][]string{"audience": {o.Audience}}
	}
	return OAuth2(&fetched{&config}), nil
}

// A fetched source asks for a token within a bound.
type fetched struct{ config *clientcredentials.Config }

// Token implements oauth2.TokenSource.
func (f *fetched) Token() (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return f.config.Token(ctx)
}

// authenticate adds credentials to every attempt.
func authenticate(c Credentials) connect.ClientInterceptor {
	return func(next connect.ClientFunc) connect.ClientFunc {
		return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
			bearer, err := c.Bearer(ctx)
			if err != nil {
				return nil, connect.NewError(connect.CodeUnauthenticated, err.Error()).WithCause(err)
			}
			if info, ok := connect.CallInfoForClientContext(ctx); ok {
				info.RequestHeader().Set("Authorization", "Bearer "+bearer)
			}
			return next(ctx, spec)
		}
	}
}
