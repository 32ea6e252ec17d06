package gate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // names of claims have one spelling, and none is there twice
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/remit-authz/remit/rpc/identity"
)

// PrefixOIDC begins the principals of the identity provider's tokens.
const PrefixOIDC = "oidc:"

// DefaultSubjectClaim is the claim that says whose a token is.
const DefaultSubjectClaim = "sub"

// claimEmail is one that its owner may have typed in; claimVerified says of some issuers'
// tokens whether it was checked.
const (
	claimEmail    = "email"
	claimVerified = "email_verified"
)

// leeway is how far the clocks of this server and of the issuer may be apart: a token that
// was issued this moment must not be refused because one of them is a little slow.
const leeway = 30 * time.Second

// maxToken bounds a token. Identity providers keep theirs below 8 KiB, which is what many
// servers take as the header of a request.
const maxToken = 16 << 10

// algorithms are those by which only the issuer can sign. Never among them: "none", and
// those whose key verifies and signs alike, since what verifies is known to all.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// OIDCConfig names an identity provider. The zero value is none.
type OIDCConfig struct {
	// Issuer is its URL, as it stands in its tokens. Below it, it tells where its keys are.
	Issuer string
	// Audience is the name of this service to it: tokens for others are refused.
	Audience string
	// SubjectClaim is the claim that says whose a token is. Default: sub.
	SubjectClaim string
	// GrantsClaim is the claim that lists what its bearer may do, as texts STORE_ID:read,write
	// or *:read or cluster: a list, or one text with spaces between them. Default: no claim
	// grants anything, and what is stored for the principal does.
	GrantsClaim string

	// Client fetches the keys. Default: one that bounds what it takes and how long it waits.
	Client *http.Client
	// Clock tells the time. Default: time.Now.
	Clock func() time.Time
	// Log receives what becomes of the issuer. Default: nothing is logged.
	Log *slog.Logger
}

// Enabled reports whether there is an identity provider, or was meant to be.
func (c *OIDCConfig) Enabled() bool { return c.Issuer != "" || c.Audience != "" }

// Validate reports every fault of the settings by themselves.
func (c *OIDCConfig) Validate() error {
	var faults []error
	switch {
	case c.Issuer != "" && c.Audience == "":
		faults = append(faults, errors.New("oidc-issuer is given without oidc-audience, the name of this service to it: "+
			"without that, whoever has a token for anything else would be let in"))
	case c.Issuer == "" && c.Audience != "":
		faults = append(faults, errors.New("oidc-audience is given without oidc-issuer, the URL of the identity provider"))
	}
	if c.Issuer == "" {
		if c.SubjectClaim != "" && c.SubjectClaim != DefaultSubjectClaim {
			faults = append(faults, errors.New("oidc-subject-claim is given without oidc-issuer, whose tokens it is about"))
		}
		if c.GrantsClaim != "" {
			faults = append(faults, errors.New("oidc-grants-claim is given without oidc-issuer, whose tokens it is about"))
		}
		return errors.Join(faults...)
	}
	return errors.Join(append(faults, checkIssuer(c.Issuer))...)
}

// checkIssuer refuses an issuer whose keys anybody on the way could replace by their own.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("oidc-issuer is no URL such as https://id.example.org")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("oidc-issuer must be a URL without a password, a query and a fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return fmt.Errorf("oidc-issuer %s must be https: over http, anybody on the way could give other keys", issuer)
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// An OIDC recognises the tokens of one identity provider. It knows their keys while Run
// runs.
type OIDC struct {
	config OIDCConfig
	keys   *issuerKeys
	known  cache
}

// NewOIDC makes one. The configuration must be valid, and enabled. Nothing is fetched
// before Run.
func NewOIDC(config OIDCConfig) *OIDC {
	if config.SubjectClaim == "" {
		config.SubjectClaim = DefaultSubjectClaim
	}
	if config.Clock == nil {
		config.Clock = time.Now
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Client == nil {
		config.Client = boundedClient()
	}
	return &OIDC{config: config, keys: newIssuerKeys(config)}
}

// Run fetches the issuer's keys, and again from time to time, until ctx is done.
func (o *OIDC) Run(ctx context.Context) { o.keys.run(ctx) }

// claims are what a token says, as far as every token does.
type claims struct {
	Issuer    string           `json:"iss"`
	Audience  jwt.Audience     `json:"aud"`
	Expires   *jwt.NumericDate `json:"exp"`
	NotBefore *jwt.NumericDate `json:"nbf"`
	IssuedAt  *jwt.NumericDate `json:"iat"`
}

// Authenticate implements BearerAuthenticator. Without the issuer's keys nothing is known
// of a token, and so the error is ErrIssuer, which does not call it invalid.
func (o *OIDC) Authenticate(ctx context.Context, token string) (*identity.Caller, error) {
	if strings.Count(token, ".") != 2 {
		return nil, identity.ErrNotMine
	}
	if len(token) > maxToken {
		return nil, fault("it is %d bytes long, more than %d are not taken", len(token), maxToken)
	}
	now, key := o.config.Clock(), sha256.Sum256([]byte(token))
	if caller := o.known.find(o.keys.generation(), key, now); caller != nil {
		return caller, nil
	}
	parsed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil || len(parsed.Signatures) != 1 {
		return nil, fault("it is no JSON Web Token that is signed in one of the ways RS, PS and ES with 256, 384 or 512 bits, and EdDSA")
	}
	if typ, _ := parsed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType].(string); !isAccess(typ) {
		return nil, fault("it is no token of access: its header says that it is of the type %q", shown(typ))
	}
	// What can be judged without the keys goes first, so that tokens of others do not make
	// this server ask the issuer. None of it counts before the signature is verified.
	var said claims
	if err := json.Unmarshal(parsed.UnsafePayloadWithoutVerification(), &said); err != nil {
		return nil, fault("its claims are no JSON, or iss, aud, exp, nbf or iat have a wrong form")
	}
	if err := o.judge(&said, now); err != nil {
		return nil, err
	}
	payload, generation, err := o.keys.verify(ctx, parsed, said.IssuedAt.Time())
	if err != nil {
		return nil, err
	}
	caller, err := o.caller(payload)
	if err != nil {
		return nil, err
	}
	caller.Expires = said.Expires.Time().Add(leeway)
	o.known.add(generation, key, caller, now)
	return caller, nil
}

// isAccess reports whether a token of a type is to be shown to services. An issuer signs
// others with the same keys and for the same audience, such as the one that ends a session,
// and tells them apart by types of their own. Many say none at all of a token of access.
func isAccess(typ string) bool {
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ == "at+jwt" || !strings.HasSuffix(typ, "+jwt")
}

// fault says what is wrong with a token, without its text.
func fault(format string, args ...any) error {
	return fmt.Errorf("%w: the token of the identity provider is not taken: %w", identity.ErrUnauthenticated, fmt.Errorf(format, args...))
}

// judge says whether a token is for this service, and valid now.
func (o *OIDC) judge(said *claims, now time.Time) error {
	switch {
	case said.Issuer != o.config.Issuer:
		return fault("it is of another issuer than %s", o.config.Issuer)
	case !said.Audience.Contains(o.config.Audience):
		return fault("it is for another audience than %s", o.config.Audience)
	case said.Expires == nil:
		return fault("it does not say when it expires")
	}
	if end := said.Expires.Time(); !now.Before(end.Add(leeway)) {
		return fmt.Errorf("%w: a token of the identity provider; this server's clock says %s", identity.Expired(end), instant(now))
	}
	for _, from := range []*jwt.NumericDate{said.NotBefore, said.IssuedAt} {
		if from != nil && now.Add(leeway).Before(from.Time()) {
			return fault("it is valid only from %s; this server's clock says %s", instant(from.Time()), instant(now))
		}
	}
	return nil
}

// caller is whom verified claims are about, and what they grant.
func (o *OIDC) caller(payload []byte) (*identity.Caller, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(payload, &all); err != nil {
		return nil, fault("its claims are no JSON")
	}
	var subject string
	if err := json.Unmarshal(all[o.config.SubjectClaim], &subject); err != nil {
		return nil, fault("its claim %s, which says whose it is, is missing or no text", o.config.SubjectClaim)
	}
	if err := checkName(subject); err != nil {
		return nil, fault("its claim %s %w", o.config.SubjectClaim, err)
	}
	if verified, said := all[claimVerified]; said && o.config.SubjectClaim == claimEmail && string(verified) != "true" {
		return nil, fault("its claim %s is not true: anybody may have given the address of another", claimVerified)
	}
	caller := &identity.Caller{Principal: PrefixOIDC + subject}
	if o.config.GrantsClaim == "" {
		return caller, nil
	}
	var err error
	if caller.Grants, err = claimedGrants(all[o.config.GrantsClaim]); err != nil {
		return nil, fault("its claim %s: %w", o.config.GrantsClaim, err)
	}
	return caller, nil
}

// maxClaimedGrants bounds the grants of one token. One that names more stores than this is
// better off with grants that are stored.
const maxClaimedGrants = 256

// claimedGrants reads a claim that lists grants; without one nothing is granted.
func claimedGrants(claim json.RawMessage) (identity.Grants, error) {
	var texts []string
	if len(claim) > 0 && json.Unmarshal(claim, &texts) != nil {
		var one string
		if json.Unmarshal(claim, &one) != nil {
			return identity.Grants{}, errors.New("it is neither a list of texts nor a text")
		}
		texts = strings.Fields(one)
	}
	if len(texts) > maxClaimedGrants {
		return identity.Grants{}, fmt.Errorf("it lists %d grants, more than %d are not taken", len(texts), maxClaimedGrants)
	}
	return parseGrants(texts)
}
