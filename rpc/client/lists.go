package client

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// defaultPage is how much a list fetches at a time unless its request says otherwise.
const defaultPage = 1000

// Objects are the ids of the objects of a type that a subject has a relation to, whatever
// their number: pages are fetched when they are needed, all at the revision of the first,
// and the page size of the request bounds a page, not the list. An error is the last that
// is yielded; without one the list is complete. So it is with all lists here.
func (c *Client) Objects(ctx context.Context, req *remitv1.ListObjectsRequest) iter.Seq2[string, error] {
	return pages(req, func(page *remitv1.ListObjectsRequest, cursor string) ([]string, string, error) {
		page.PageSize, page.Cursor = sizeOf(page.GetPageSize()), cursor
		res, err := c.Access.ListObjects(ctx, page)
		return res.GetIds(), res.GetCursor(), err
	})
}

// Subjects are the subjects of a kind that have a relation to an object.
func (c *Client) Subjects(ctx context.Context, req *remitv1.ListSubjectsRequest) iter.Seq2[*remitv1.ListedSubject, error] {
	return pages(req, func(page *remitv1.ListSubjectsRequest, cursor string) ([]*remitv1.ListedSubject, string, error) {
		page.PageSize, page.Cursor = sizeOf(page.GetPageSize()), cursor
		res, err := c.Access.ListSubjects(ctx, page)
		return res.GetSubjects(), res.GetCursor(), err
	})
}

// StoredTuples are the tuples that match a filter.
func (c *Client) StoredTuples(ctx context.Context, req *remitv1.ReadRequest) iter.Seq2[*remitv1.StoredTuple, error] {
	return pages(req, func(page *remitv1.ReadRequest, cursor string) ([]*remitv1.StoredTuple, string, error) {
		page.PageSize, page.Cursor = sizeOf(page.GetPageSize()), cursor
		res, err := c.Tuples.Read(ctx, page)
		return res.GetTuples(), res.GetCursor(), err
	})
}

// Records are the ids of the records of a module that a user may do something to.
func (c *Client) Records(ctx context.Context, req *remitv1.ListRecordsRequest) iter.Seq2[string, error] {
	return pages(req, func(page *remitv1.ListRecordsRequest, cursor string) ([]string, string, error) {
		page.PageSize, page.Cursor = sizeOf(page.GetPageSize()), cursor
		res, err := c.Organisations.ListRecords(ctx, page)
		return res.GetIds(), res.GetCursor(), err
	})
}

// UsersWithAccess are the seats of those who may do something to a record.
func (c *Client) UsersWithAccess(ctx context.Context, req *remitv1.ListUsersWithAccessRequest) iter.Seq2[string, error] {
	return pages(req, func(page *remitv1.ListUsersWithAccessRequest, cursor string) ([]string, string, error) {
		page.PageSize, page.Cursor = sizeOf(page.GetPageSize()), cursor
		res, err := c.Organisations.ListUsersWithAccess(ctx, page)
		return res.GetUsers(), res.GetCursor(), err
	})
}

// Entities are those of one kind in an organisation.
func (c *Client) Entities(ctx context.Context, req *remitv1.ListEntitiesRequest) iter.Seq2[*remitv1.Entity, error] {
	return pages(req, func(page *remitv1.ListEntitiesRequest, cursor string) ([]*remitv1.Entity, string, error) {
		page.PageSize, page.Cursor = sizeOf(page.GetPageSize()), cursor
		res, err := c.Organisations.ListEntities(ctx, page)
		return res.GetEntities(), res.GetCursor(), err
	})
}

// AllStores are the stores that the caller may know of; a name limits them to those that
// bear it. Their pages are not of one revision: a store that is made meanwhile comes last.
func (c *Client) AllStores(ctx context.Context, name string) iter.Seq2[*remitv1.Store, error] {
	return pages(&remitv1.ListStoresRequest{Name: name}, func(page *remitv1.ListStoresRequest, cursor string) ([]*remitv1.Store, string, error) {
		page.PageSize, page.Cursor = defaultPage, cursor
		res, err := c.Stores.ListStores(ctx, page)
		return res.GetStores(), res.GetCursor(), err
	})
}

func sizeOf(wanted int32) int32 {
	if wanted == 0 {
		return defaultPage
	}
	return wanted
}

// pages yields what fetch gets, from the cursor of the request on, until there is no other.
// Every iteration works on a copy of the request, which fetch may change.
func pages[Q interface {
	proto.Message
	GetCursor() string
}, T any](req Q, fetch func(page Q, cursor string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		page := proto.CloneOf(req)
		for cursor := page.GetCursor(); ; {
			some, next, err := fetch(page, cursor)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, one := range some {
				if !yield(one, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			cursor = next
		}
	}
}
