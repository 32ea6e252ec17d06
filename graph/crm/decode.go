package crm

import (
	"errors"
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// ErrForeign occurs if a view holds what no valid organisation is encoded as: something
// else has written to it.
var ErrForeign = errors.New("not the encoding of an organisation")

// Decode reads the organisation that a view holds, in its canonical order. The plan is
// that of the model in use. It reads everything, and its memory is that of the
// organisation several times over: it is for exporting and for checking, not for changes.
//
// A view that Encode does not give again, tuple by tuple and document by document, is
// ErrForeign. Claims of names that nothing bears cannot be seen, for a view does not list
// documents. Other errors are those of the view.
func Decode(v graph.Scanner, p *model.Plan) (*Organisation, error) {
	e, err := read(v, p)
	if err != nil {
		return nil, err
	}
	from := newEncoded(e)
	d := decoder{source: from}
	o := d.organisation(from)
	if err := d.err(); err != nil {
		return nil, err
	}
	o.Sort()
	if err := o.Validate(Limits{}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	again := Encode(o)
	for i := range again.Documents {
		if name := again.Documents[i].Entity; name.Type == typeName {
			claim, found, err := document(v, p, name)
			if err != nil {
				return nil, err
			}
			if found {
				e.Documents = append(e.Documents, claim)
			}
		}
	}
	e.sort()
	if c := Difference(e, again); !c.Empty() {
		return nil, foreign("%s", c.first())
	}
	return o, nil
}

func foreign(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrForeign, fmt.Sprintf(format, args...))
}

// first shows one of the changes that would make a view an encoding.
func (c Changes) first() string {
	switch {
	case len(c.Delete) > 0:
		return "tuple " + c.Delete[0].String() + " does not belong there"
	case len(c.Put) > 0:
		return "tuple " + c.Put[0].String() + " is missing or another"
	case len(c.DeleteDocuments) > 0:
		return "the document of " + c.DeleteDocuments[0].String() + " does not belong there"
	case len(c.PutDocuments) > 0:
		return "the document of " + c.PutDocuments[0].Entity.String() + " is missing or another"
	default:
		return "nothing"
	}
}
