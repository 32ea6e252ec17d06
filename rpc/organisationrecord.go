package rpc

import (
	"fmt"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// Records and their shares.

func recordOf(path string, m *remitv1.Record) (*crm.Record, error) {
	r := &crm.Record{
		Module: m.GetModule(), ID: m.GetId(), Owner: m.GetOwner(),
		Confidentiality: crm.Confidentiality(max(0, m.GetConfidentiality()-1)),
	}
	if _, err := recordRef(path, r.Ref().String()); err != nil {
		return nil, err
	}
	var err error
	if len(m.GetParents()) > 0 {
		if r.Parents, err = recordRefs(path+".parents", m.GetParents()); err != nil {
			return nil, err
		}
	}
	if r.Shares, err = sharesOf(path+".shares", m.GetShares()); err != nil {
		return nil, err
	}
	if m.GetFields() != nil {
		if r.Fields, err = value.Normalize(m.Fields.AsMap()); err != nil {
			return nil, at(path+".fields", fmt.Errorf("%w: %w", backend.ErrRequest, err))
		}
	}
	return r, nil
}

func recordMessage(r *crm.Record) (*remitv1.Record, error) {
	m := &remitv1.Record{
		Module: r.Module, Id: r.ID, Owner: r.Owner, Shares: shareMessages(r.Shares),
		Confidentiality: remitv1.Confidentiality(r.Confidentiality) + 1,
	}
	for _, p := range r.Parents {
		m.Parents = append(m.Parents, p.String())
	}
	if len(r.Fields) > 0 {
		fields, err := structpb.NewStruct(r.Fields)
		if err != nil {
			return nil, fmt.Errorf("fields of %s: %w", r.Ref(), err)
		}
		m.Fields = fields
	}
	return m, nil
}

func sharesOf(path string, messages []*remitv1.Share) ([]crm.Share, error) {
	var shares []crm.Share
	for i, m := range messages {
		where := indexed(path, i)
		s := crm.Share{Level: levelOf(m.GetLevel()), Related: m.GetRelated(), Reason: m.GetReason(), GrantedBy: m.GetGrantedBy()}
		var err error
		if s.To, err = partyOf(where+".to", m.GetTo()); err != nil {
			return nil, err
		}
		if m.GetExpiresAt() != nil {
			if s.Expires, err = boundOf(where+".expires_at", m.ExpiresAt); err != nil {
				return nil, err
			}
		}
		shares = append(shares, s)
	}
	return shares, nil
}

func shareMessages(shares []crm.Share) []*remitv1.Share {
	var messages []*remitv1.Share
	for i := range shares {
		messages = append(messages, shareMessage(&shares[i]))
	}
	return messages
}

func shareMessage(s *crm.Share) *remitv1.Share {
	m := &remitv1.Share{To: s.To.Text(), Level: levelNumber(s.Level), Related: s.Related, Reason: s.Reason, GrantedBy: s.GrantedBy}
	if !s.Expires.IsZero() {
		m.ExpiresAt = timestamppb.New(s.Expires)
	}
	return m
}
