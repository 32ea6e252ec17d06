package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) grantCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "grant",
		Short:   "Say what people and machines with identities of their own may do",
		GroupID: groupIdentity,
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(a.grantSetCommand(), a.grantListCommand())
	return cmd
}

func (a *app) grantSetCommand() *cobra.Command {
	var grants []string
	var none bool
	var version uint64
	var reason, key string
	cmd := &cobra.Command{
		Use:   "set PRINCIPAL",
		Short: "Replace what a principal may do",
		Long: `Set replaces the grants of a principal: oidc:SUBJECT is a subject of the identity
provider, cert:NAME the name in a client's certificate, and key:NAME a key. What others
granted on stores that the caller does not administer stays as it is.

` + grantHelp,
		Example: `  remit grant set oidc:ann@example.com --grant shop:read --grant crm:read,write
  remit grant set cert:billing --grant billing:write --if-version 3
  remit grant set oidc:ann@example.com --none --reason "left the company"`,
		Args: words(1, "PRINCIPAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if none == (len(grants) > 0) {
				return errors.New("say what is granted with --grant, or that nothing is any more with --none")
			}
			req := &remitv1.SetGrantsRequest{Principal: args[0], Reason: reason, IdempotencyKey: key}
			var err error
			if req.Grants, err = parseGrants(grants); err != nil {
				return err
			}
			if cmd.Flags().Changed("if-version") {
				req.Version = &version
			}
			c, err := a.identities()
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.SetGrants, req)
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error {
				g := answer.GetGranted()
				names := a.storeNames(cmd.Context(), g.GetGrants()...)
				_, err := fmt.Fprintf(w, "%s: %s (version %d)\n", g.GetPrincipal(), grantsText(g.GetGrants(), names), g.GetVersion())
				return err
			})
		},
	}
	cmd.Flags().StringArrayVar(&grants, "grant", nil, "what it may do, as `STORE:PERMISSIONS` or cluster; may be repeated")
	cmd.Flags().BoolVar(&none, "none", false, "it may do nothing any more")
	cmd.Flags().Uint64Var(&version, "if-version", 0, "only if the grants are at this `version`, as list shows it; 0: only if there are none")
	identityFlags(cmd, &reason, &key)
	return cmd
}

func (a *app) grantListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [PRINCIPAL]",
		Short: "List who may do what",
		Long: `List shows to whom something is granted, keys included, as far as the caller administers
it.`,
		Example: "  remit grant list\n  remit grant list oidc:ann@example.com -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			c, err := a.identities()
			if err != nil {
				return err
			}
			principal := strings.Join(args, "")
			all := &remitv1.ListGrantsResponse{}
			for {
				answer, err := call(cmd.Context(), a, c.ListGrants, &remitv1.ListGrantsRequest{Principal: principal, PageSize: page, Cursor: all.GetCursor()})
				if err != nil {
					return err
				}
				all.Principals, all.Cursor = append(all.Principals, answer.GetPrincipals()...), answer.GetCursor()
				if all.GetCursor() == "" {
					break
				}
			}
			return a.print(all, func(w io.Writer) error {
				var granted []*remitv1.Grant
				for _, g := range all.GetPrincipals() {
					granted = append(granted, g.GetGrants()...)
				}
				names := a.storeNames(cmd.Context(), granted...)
				return columns(w, func(w io.Writer) {
					printLine(w, "PRINCIPAL\tVERSION\tGRANTS")
					for _, g := range all.GetPrincipals() {
						printf(w, "%s\t%d\t%s\n", g.GetPrincipal(), g.GetVersion(), grantsText(g.GetGrants(), names))
					}
				})
			})
		},
	}
	return cmd
}

// permissionNames are the permissions as the command line has them.
var permissionNames = map[string]remitv1.Permission{
	"read": remitv1.Permission_PERMISSION_READ, "write": remitv1.Permission_PERMISSION_WRITE,
	"model": remitv1.Permission_PERMISSION_MODEL, "admin": remitv1.Permission_PERMISSION_ADMIN,
}

// parseGrants reads STORE:PERMISSIONS, *:PERMISSIONS and cluster.
func parseGrants(texts []string) ([]*remitv1.Grant, error) {
	var grants []*remitv1.Grant
	for _, text := range texts {
		if text == "cluster" {
			grants = append(grants, &remitv1.Grant{Target: &remitv1.Grant_Cluster{Cluster: true}})
			continue
		}
		colon := strings.LastIndexByte(text, ':') // the name of a store may hold some
		if colon <= 0 {
			return nil, fmt.Errorf("--grant %s: write STORE:PERMISSIONS, such as shop:read,write, or *:read for all stores, or cluster", text)
		}
		g := &remitv1.Grant{Target: &remitv1.Grant_Store{Store: text[:colon]}}
		if text[:colon] == "*" {
			g.Target = &remitv1.Grant_AllStores{AllStores: true}
		}
		for name := range strings.SplitSeq(text[colon+1:], ",") {
			p, ok := permissionNames[name]
			if !ok {
				return nil, fmt.Errorf("--grant %s: %q is no permission; there are read, write, model and admin", text, name)
			}
			g.Permissions = append(g.Permissions, p)
		}
		grants = append(grants, g)
	}
	return grants, nil
}

// storeNames are the names of the stores that grants are on, by their ids, as far as the
// caller may see them: people know stores by their names. A name that two stores have is
// left out, and so are all if they cannot be asked for.
func (a *app) storeNames(ctx context.Context, grants ...*remitv1.Grant) map[string]string {
	if !slices.ContainsFunc(grants, func(g *remitv1.Grant) bool { return g.GetStore() != "" }) {
		return nil
	}
	c, err := a.client()
	if err != nil {
		return nil
	}
	names, bearers := map[string]string{}, map[string]int{}
	for cursor := ""; ; {
		answer, err := call(ctx, a, c.stores.ListStores, &remitv1.ListStoresRequest{PageSize: page, Cursor: cursor})
		if err != nil {
			return nil
		}
		for _, s := range answer.GetStores() {
			names[s.GetId()] = visible(s.GetName())
			bearers[visible(s.GetName())]++
		}
		if cursor = answer.GetCursor(); cursor == "" {
			break
		}
	}
	maps.DeleteFunc(names, func(_, name string) bool { return name == "*" || bearers[name] > 1 })
	return names
}

// grantsText writes grants as parseGrants reads them, the stores by their names where
// those are known, and else by their ids.
func grantsText(grants []*remitv1.Grant, stores map[string]string) string {
	texts := make([]string, 0, len(grants))
	for _, g := range grants {
		if g.GetCluster() {
			texts = append(texts, "cluster")
			continue
		}
		names := make([]string, len(g.GetPermissions()))
		for i, p := range g.GetPermissions() {
			names[i] = strings.ToLower(strings.TrimPrefix(p.String(), "PERMISSION_"))
		}
		store := firstOf(stores[g.GetStore()], g.GetStore())
		if g.GetAllStores() {
			store = "*"
		}
		texts = append(texts, store+":"+strings.Join(names, ","))
	}
	if len(texts) == 0 {
		return "nothing"
	}
	return strings.Join(texts, " ")
}
