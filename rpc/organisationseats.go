package rpc

import (
	"context"
	"fmt"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/limit"
)

// ListSeats answers in which organisations a login has a seat, in the order of their ids.
// Whoever asks about their own login is told of the organisations that they may know of;
// about another's, of those that they may read.
func (s *organisationService) ListSeats(ctx context.Context, req *remitv1.ListSeatsRequest) (*remitv1.ListSeatsResponse, error) {
	own := loginOf(ctx)
	login := req.Login
	if login == "" {
		login = own
	}
	if login == "" {
		return nil, at("login", fmt.Errorf("%w: say whose seats: the caller brings no token of an identity provider, and so has none of its own",
			backend.ErrRequest))
	}
	res := &remitv1.ListSeatsResponse{}
	var err error
	backend.Stores(ctx, s.reader.Config.State.Current(), fsm.StoreID{}, func(store *fsm.Store) bool {
		if err = limit.Pace(ctx); err != nil {
			return false
		}
		if !store.Managed() || login != own && !identity.Permitted(ctx, store.ID()) {
			return true
		}
		var seat crm.LoginSeat
		var ok bool
		if seat, ok, err = crm.SeatOfLogin(store, store.Symbols(), login); err == nil && ok {
			res.Seats = append(res.Seats, &remitv1.LoginSeat{
				Store: store.ID().String(), Organisation: seat.Organisation, Seat: seat.ID, Name: seat.Name, Suspended: seat.Suspended,
			})
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}
