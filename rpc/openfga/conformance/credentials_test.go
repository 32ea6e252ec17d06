package conformance

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	openfga "github.com/openfga/go-sdk"
	sdk "github.com/openfga/go-sdk/client"
	"github.com/openfga/go-sdk/credentials"
)

// A server that asks who calls takes the SDK's API token, and refuses another with the
// status and the code that OpenFGA gives, which the SDK knows as its own kind of error.
func TestGoSDKCredentials(t *testing.T) {
	key := strings.Repeat("0123456789abcdef", 2)
	for name, start := range map[string]func(context.Context, string) (*Target, error){Remit: StartRemit, OpenFGA: StartOpenFGA} {
		t.Run(name, func(t *testing.T) {
			target, err := start(context.Background(), key)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := target.Close(); err != nil {
					t.Error(err)
				}
			}()
			as := func(token string) *sdk.OpenFgaClient {
				config := &sdk.ClientConfiguration{ApiUrl: target.URL}
				if token != "" {
					config.Credentials = &credentials.Credentials{Method: credentials.CredentialsMethodApiToken, Config: &credentials.Config{ApiToken: token}}
				}
				c, err := sdk.NewSdkClient(config)
				return ok(t, c, err)
			}
			made, err := as(key).CreateStore(t.Context()).Body(sdk.ClientCreateStoreRequest{Name: "guarded"}).Execute()
			ok(t, made, err)
			list, err := as(key).ListStores(t.Context()).Execute()
			if ok(t, list, err); len(list.Stores) != 1 || list.Stores[0].Id != made.Id {
				t.Errorf("ListStores = %v, want the store %s", list.Stores, made.Id)
			}
			for token, code := range map[string]string{"": "bearer_token_missing", "another" + key: "unauthenticated"} {
				_, err := as(token).ListStores(t.Context()).Execute()
				var refused openfga.FgaApiAuthenticationError
				if !errors.As(err, &refused) || refused.ResponseStatusCode() != http.StatusUnauthorized || !strings.Contains(string(refused.Body()), `"code":"`+code+`"`) {
					t.Errorf("ListStores with the token %q = %v, want a refusal with 401 and %s", token, err, code)
				}
			}
		})
	}
}
