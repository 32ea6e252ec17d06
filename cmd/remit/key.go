package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// identities are keys, grants and who calls.
func (a *app) identities() (remitv1connect.IdentityServiceClient, error) {
	c, err := a.connection()
	if err != nil {
		return nil, err
	}
	return remitv1connect.NewIdentityServiceClient(c), nil
}

func (a *app) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "key",
		Short:   "Create, list, rotate and revoke the keys of applications",
		GroupID: groupIdentity,
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(a.keyCreateCommand(), a.keyListCommand(), a.keyRotateCommand(), a.keyRevokeCommand())
	return cmd
}

// grantHelp explains the flag --grant.
const grantHelp = `A grant is STORE:PERMISSIONS, where PERMISSIONS are some of read, write, model and admin,
separated by commas, and STORE is the name or the id of a store, or * for all of them; or
it is the word cluster, which is everything. Admin includes the others; none of the others
includes another.`

func (a *app) keyCreateCommand() *cobra.Command {
	var grants []string
	var expires, reason, key string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a key and print its secret, once",
		Long: `Create makes a key of a new name and prints its secret, alone on standard output: it is
shown this once and stored nowhere, only a hash of it. Who calls with it is the principal
key:NAME.

` + grantHelp,
		Example: `  remit key create shop-web --grant shop:read,write > shop-web.key
  remit key create auditor --grant '*:read' --expires 90d
  remit key create operator --grant cluster --reason "the night shift"`,
		Args: words(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if len(grants) == 0 {
				return errors.New("say what the key is for with --grant, such as --grant shop:read,write")
			}
			req := &remitv1.CreateKeyRequest{Name: args[0], Reason: reason, IdempotencyKey: key}
			var err error
			if req.Grants, err = parseGrants(grants); err != nil {
				return err
			}
			if req.ExpiresAt, err = parseExpiry(expires); err != nil {
				return err
			}
			c, err := a.identities()
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.CreateKey, req)
			if err != nil {
				return err
			}
			return a.printSecret(answer, answer.GetKey(), answer.GetSecret(), "created")
		},
	}
	cmd.Flags().StringArrayVar(&grants, "grant", nil, "what the key may do, as `STORE:PERMISSIONS` or cluster; may be repeated")
	cmd.Flags().StringVar(&expires, "expires", "", "when it expires: after a `period` such as 90d or 36h, or at an instant (default never)")
	identityFlags(cmd, &reason, &key)
	return cmd
}

func identityFlags(cmd *cobra.Command, reason, key *string) {
	cmd.Flags().StringVar(reason, "reason", "", "why, for the audit `trail`")
	cmd.Flags().StringVar(key, "idempotency-key", "", "a `key` that makes it safe to run the command again")
}

// printSecret prints the secret alone on standard output, so that it can go into a file,
// and what else there is to say beside it.
func (a *app) printSecret(answer any, key *remitv1.Key, secret, done string) error {
	until := ""
	if key.GetExpiresAt() != nil {
		until = ", expires " + instantText(key.GetExpiresAt().AsTime())
	}
	printf(a.stderr, "key %s %s: %s%s\n", key.GetName(), done, key.GetId(), until)
	if secret == "" {
		printf(a.stderr, "this was done before, and only the first answer showed the secret; if that was lost: remit key rotate %s\n", shellWord(key.GetName()))
	} else if isTerminal(a.stdout) {
		printf(a.stderr, "its secret is shown this once:\n")
	}
	err := a.print(answer, func(w io.Writer) error {
		if secret == "" {
			return nil
		}
		_, err := fmt.Fprintln(w, secret)
		return err
	})
	if err != nil && secret != "" {
		return fmt.Errorf("the secret of key %s is lost, for it could not be written: %w; make another with: remit key rotate %s --overlap 0", key.GetName(), err, shellWord(key.GetName()))
	}
	return err
}

func (a *app) keyListCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys, without their secrets",
		Long: `List shows the keys that the caller may manage: all of them with the grant cluster, and
otherwise those whose grants all lie on stores that the caller administers.`,
		Example: "  remit key list\n  remit key list --name shop-web -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			c, err := a.identities()
			if err != nil {
				return err
			}
			all := &remitv1.ListKeysResponse{}
			for {
				answer, err := call(cmd.Context(), a, c.ListKeys, &remitv1.ListKeysRequest{Name: name, PageSize: page, Cursor: all.GetCursor()})
				if err != nil {
					return err
				}
				all.Keys, all.Cursor = append(all.Keys, answer.GetKeys()...), answer.GetCursor()
				if all.GetCursor() == "" {
					break
				}
			}
			return a.print(all, func(w io.Writer) error {
				var granted []*remitv1.Grant
				for _, k := range all.GetKeys() {
					granted = append(granted, k.GetGrants()...)
				}
				names := a.storeNames(cmd.Context(), granted...)
				return columns(w, func(w io.Writer) {
					printLine(w, "NAME\tID\tGRANTS\tCREATED\tBY\tEXPIRES")
					for _, k := range all.GetKeys() {
						printf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.GetName(), k.GetId(), grantsText(k.GetGrants(), names),
							instantText(k.GetCreatedAt().AsTime()), dash(k.GetCreatedBy()), expiryText(k.GetExpiresAt(), k.GetExpired()))
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "only keys of exactly this `name`")
	return cmd
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func expiryText(at *timestamppb.Timestamp, expired bool) string {
	switch {
	case at == nil:
		return "never"
	case expired:
		return instantText(at.AsTime()) + " (expired)"
	}
	return instantText(at.AsTime())
}

func (a *app) keyRotateCommand() *cobra.Command {
	var overlap, expires, reason, key string
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Replace the secret of a key, and print the new one, once",
		Long: `Rotate makes another key of the same name and with the same grants, and prints its secret
as create does. The older secrets are valid for a while longer, so that everything that uses
them can take the new one first; a secret that others know is ended with --overlap 0.`,
		Example: `  remit key rotate shop-web > shop-web.key
  remit key rotate shop-web --overlap 0 --reason "the secret was in a log"`,
		Args: words(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			req := &remitv1.RotateKeyRequest{Name: args[0], Reason: reason, IdempotencyKey: key}
			if overlap != "" {
				d, err := parseSpan(overlap)
				if err != nil {
					return fmt.Errorf("--overlap: %w", err)
				}
				req.Overlap = durationpb.New(d)
			}
			if expires == "never" {
				return errors.New("--expires never: a key that is rotated expires after as long as the last was given; for one that never does, create another")
			}
			var err error
			if req.ExpiresAt, err = parseExpiry(expires); err != nil {
				return err
			}
			c, err := a.identities()
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.RotateKey, req)
			if err != nil {
				return err
			}
			return a.printSecret(answer, answer.GetKey(), answer.GetSecret(), "rotated")
		},
	}
	cmd.Flags().StringVar(&overlap, "overlap", "", "for how long the older secrets stay valid: a `period` such as 7d, 90m or 0 (default 24h)")
	cmd.Flags().StringVar(&expires, "expires", "", "when the new one expires: after a `period`, or at an instant\n(default after as long as the last was given)")
	identityFlags(cmd, &reason, &key)
	return cmd
}

func (a *app) keyRevokeCommand() *cobra.Command {
	var reason, key string
	cmd := &cobra.Command{
		Use:   "revoke NAME|ID",
		Short: "End a key at once",
		Long: `Revoke ends all keys of a name, or the one with an id. The server refuses them from then
on, and ends the streams that they opened within seconds.`,
		Example: "  remit key revoke shop-web\n  remit key revoke 01K7Z0Q3T9V6M2N4P8R1S5W7XY --reason \"the laptop was stolen\"",
		Args:    words(1, "NAME|ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			req := &remitv1.RevokeKeyRequest{Which: &remitv1.RevokeKeyRequest_Name{Name: args[0]}, Reason: reason, IdempotencyKey: key}
			if _, err := ulid.ParseStrict(args[0]); err == nil {
				req.Which = &remitv1.RevokeKeyRequest_Id{Id: args[0]}
			}
			c, err := a.identities()
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.RevokeKey, req)
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error {
				if len(answer.GetIds()) == 0 {
					_, err := fmt.Fprintf(w, "%s was revoked before\n", args[0])
					return err
				}
				_, err := fmt.Fprintf(w, "revoked: %s\n", strings.Join(answer.GetIds(), ", "))
				return err
			})
		},
	}
	identityFlags(cmd, &reason, &key)
	return cmd
}

// parseExpiry reads when a key expires: after a period, or at an instant. Empty: never.
func parseExpiry(text string) (*timestamppb.Timestamp, error) {
	if text == "" || text == "never" {
		return nil, nil
	}
	if at, ok := parseMomentInstant(text); ok {
		return timestamppb.New(at), nil
	}
	d, err := parseSpan(text)
	if err != nil {
		return nil, fmt.Errorf("--expires: %w, or an instant as 2027-01-31T18:00:00Z", err)
	}
	return timestamppb.New(time.Now().Add(d)), nil
}

// parseSpan reads a period: 90d, 36h or 1h30m.
func parseSpan(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	r, err := parseRetention(text)
	if err != nil || r.GetForever() {
		return 0, fmt.Errorf("%q is no period; write it as 90d, 36h or 1h30m", text)
	}
	return r.GetPeriod().AsDuration(), nil
}
