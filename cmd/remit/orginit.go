package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) orgInitCommand() *cobra.Command {
	seat := &remitv1.Seat{}
	request := &remitv1.CreateOrganisationRequest{SuperAdmin: seat}
	var modules []string
	cmd := &cobra.Command{
		Use:   "init NAME",
		Short: "Make an organisation with its super admin",
		Long: `Init makes a store that holds an organisation: its super admin, the roles CEO and
Manager, the profiles Administrator and Standard, and the modules that are asked for, in
which administrators may do everything and others view, create, edit and delete. A
module is its id, or ID=NAME.

One that is written in a file already is made by "remit org apply FILE --create".`,
		Example: `  remit org init acme --super-admin ada --name "Ada Ames" --modules deal,account
  remit org init acme --super-admin ada --login ada@acme.example --modules deal=Deals,note`,
		Args: words(1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if seat.GetId() == "" {
				return errors.New("say who the super admin is, with --super-admin ID")
			}
			if seat.GetName() == "" {
				seat.Name = seat.GetId()
			}
			for _, text := range modules {
				id, name, named := strings.Cut(text, "=")
				if !named {
					name = label(id)
				}
				request.Modules = append(request.Modules, &remitv1.Module{Id: id, Name: name})
			}
			request.Name = args[0]
			c, err := a.client()
			if err != nil {
				return err
			}
			answer, err := a.createOrganisation(cmd.Context(), c, request)
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "organisation %s created: store %s\n", visible(request.GetName()), answer.GetStore())
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&seat.Id, "super-admin", "", "the `id` of the person who may do everything")
	flags.StringVar(&seat.Name, "name", "", "the super admin's `name` (default: the id)")
	flags.StringVar(&seat.Login, "login", "", "who the super admin is to the identity provider")
	flags.StringVar(&request.Id, "id", "", "the organisation's own `id` in the graph (default main)")
	flags.StringSliceVar(&modules, "modules", nil, "the `modules` to begin with, such as deal,account=Accounts")
	return cmd
}

// createOrganisation makes an organisation under a name that no store has yet.
func (a *app) createOrganisation(ctx context.Context, c *services, request *remitv1.CreateOrganisationRequest) (*remitv1.CreateOrganisationResponse, error) {
	if err := a.nameIsFree(ctx, c, request.GetName(), ""); err != nil {
		return nil, err
	}
	request.IdempotencyKey, request.Reason = ulid.Make().String(), a.provenance.given()
	return call(ctx, a, c.organisations.CreateOrganisation, request)
}

// label is a name for what has only an id: sales_order is Sales order.
func label(id string) string {
	words := strings.ReplaceAll(id, "_", " ")
	if words == "" {
		return words
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

// firstRole is the id of the root role that every organisation is made with.
const firstRole = "ceo"

// createFor makes the store of an organisation that a file says, unless it is there: then
// an earlier attempt was interrupted, and whatever is missing will be.
func (a *app) createFor(ctx context.Context, c *services, store string, file *orgfile.File) (string, error) {
	if !file.Has(orgfile.Organisation) {
		return "", fmt.Errorf("%s has no section organisation, which --create needs: who the organisation is, and its super admin", file.Path)
	}
	if err := file.Validate(crm.DefaultLimits()); err != nil {
		return "", err
	}
	o := file.Organisation
	if store == "" {
		store = o.Name
	}
	found, err := call(ctx, a, c.stores.ListStores, &remitv1.ListStoresRequest{Name: store, PageSize: 2})
	if err != nil {
		return "", err
	}
	switch stores := found.GetStores(); {
	case len(stores) == 1 && stores[0].GetManaged():
		return stores[0].GetId(), nil
	case len(stores) > 0:
		return "", fmt.Errorf("a store named %s exists already, and it holds no organisation; name another with --store", visible(store))
	}
	if i := slices.IndexFunc(o.Roles, func(r crm.Role) bool { return r.Parent == "" }); o.Roles[i].ID != firstRole {
		return "", fmt.Errorf("%s: the root is the role %s that every organisation begins with, and stays: give this role that id, and any name",
			file.Place((&o.Roles[i]).Key().String()), firstRole)
	}
	request := &remitv1.CreateOrganisationRequest{Name: store, Id: o.ID}
	for i := range o.Seats {
		if s := o.Seats[i]; s.ID == o.SuperAdmin {
			// Role, profiles and the like are not there before the file is applied.
			m, err := rpc.EntityMessage(&crm.Seat{ID: s.ID, Name: s.Name, Login: s.Login}, 0)
			if err != nil {
				return "", err
			}
			request.SuperAdmin = m.GetSeat()
		}
	}
	answer, err := a.createOrganisation(ctx, c, request)
	return answer.GetStore(), err
}
