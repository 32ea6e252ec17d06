package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/rpc"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// nounCommands are a command for each kind of thing, with what can be done to it.
func (a *app) nounCommands() []*cobra.Command {
	var commands []*cobra.Command
	for i := range nouns {
		n := &nouns[i]
		cmd := &cobra.Command{Use: n.name, Short: n.short}
		cmd.AddCommand(a.nounListCommand(n), a.nounGetCommand(n), a.nounSetCommand(n), a.nounDeleteCommand(n))
		switch n.kind {
		case remitv1.EntityKind_ENTITY_KIND_ROLE, remitv1.EntityKind_ENTITY_KIND_PROFILE:
			cmd.AddCommand(a.moveHoldersCommand(n))
		case remitv1.EntityKind_ENTITY_KIND_RECORD:
			cmd.AddCommand(a.recordTransferCommand())
		}
		commands = append(commands, cmd)
	}
	whole := &cobra.Command{Use: settingsNoun.name, Short: settingsNoun.short}
	whole.AddCommand(a.nounGetCommand(&settingsNoun), a.nounSetCommand(&settingsNoun))
	return append(commands, whole, a.shareCommand())
}

// plural names some of a noun.
func (n *noun) plural() string { return n.name + "s" }

// article names one of a noun.
func (n *noun) article() string {
	if n.id == "" {
		return "the organisation"
	}
	return "a " + n.name
}

// use is a command's line, with the argument that names one.
func (n *noun) use(verb string) string { return strings.TrimSpace(verb + " " + n.id) }

// args accepts the argument that names one.
func (n *noun) args() cobra.PositionalArgs {
	if n.id == "" {
		return cobra.NoArgs
	}
	return words(1, n.id)
}

// ref names one.
func (n *noun) ref(args []string) *remitv1.EntityRef {
	r := &remitv1.EntityRef{Kind: n.kind}
	if len(args) > 0 {
		r.Id = args[0]
		if n.kind == remitv1.EntityKind_ENTITY_KIND_SEAT {
			r.Id = seatID(r.GetId())
		}
	}
	return r
}

// inner is the message that an entity holds.
func (n *noun) inner(e *remitv1.Entity) protoreflect.Message {
	m := e.ProtoReflect()
	return m.Mutable(m.Descriptor().Fields().ByName(protoreflect.Name(n.message))).Message()
}

// named is an entity that has its id alone.
func (n *noun) named(id string) (*remitv1.Entity, error) {
	e := &remitv1.Entity{}
	m := n.inner(e)
	set := func(field, text string) {
		m.Set(m.Descriptor().Fields().ByName(protoreflect.Name(field)), protoreflect.ValueOfString(text))
	}
	if n.within != "" {
		module, of, ok := strings.Cut(id, n.within)
		if !ok || module == "" || of == "" {
			return nil, fmt.Errorf("%q is no %s; write %s", id, n.name, n.id)
		}
		set("module", module)
		id = of
	}
	set("id", id)
	return e, nil
}

// idOf names an entity as its command does.
func (n *noun) idOf(e *remitv1.Entity) string {
	m := n.inner(e)
	text := func(field string) string {
		return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(field))).String()
	}
	if n.within != "" {
		return text("module") + n.within + text("id")
	}
	return text("id")
}

func (a *app) nounListCommand(n *noun) *cobra.Command {
	var by acting
	var asOf string
	var limit int
	use, args, example := "list", cobra.PositionalArgs(cobra.NoArgs), "  remit org "+n.name+" list\n  remit org "+n.name+" list -o json"
	if n.kind == remitv1.EntityKind_ENTITY_KIND_RECORD {
		use, args, example = "list MODULE", words(1, "MODULE"), "  remit org record list deal\n  remit org record list deal --limit 20 -o json"
	}
	cmd := &cobra.Command{
		Use:     use,
		Short:   "List " + n.plural(),
		Example: example,
		Args:    args,
		RunE: func(cmd *cobra.Command, args []string) error {
			consistency, err := a.requirement(asOf)
			if err != nil {
				return err
			}
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			request := &remitv1.ListEntitiesRequest{Store: store, As: by.as, Kind: n.kind, Consistency: consistency}
			if len(args) > 0 {
				request.Module = args[0]
			}
			all := &remitv1.ListEntitiesResponse{}
			for {
				request.Cursor, request.PageSize = all.GetCursor(), pageSize(limit, len(all.GetEntities()))
				answer, err := call(cmd.Context(), a, c.organisations.ListEntities, request)
				if err != nil {
					return organisationError(store, err)
				}
				all.Entities = append(all.Entities, answer.GetEntities()...)
				all.Cursor, all.Token = answer.GetCursor(), answer.GetToken()
				if all.GetCursor() == "" || limit > 0 && len(all.GetEntities()) >= limit {
					break
				}
			}
			a.tellCut(all.GetCursor(), limit)
			return a.print(all, func(w io.Writer) error { return n.table(w, all.GetEntities()) })
		},
	}
	by.register(cmd)
	registerAsOf(cmd, &asOf)
	cmd.Flags().IntVar(&limit, "limit", 0, "stop after so many (default: list all)")
	return cmd
}

// table writes entities, one a line.
func (n *noun) table(w io.Writer, entities []*remitv1.Entity) error {
	return columns(w, func(w io.Writer) {
		head := "ID"
		for _, c := range n.columns {
			_, inner, nested := strings.Cut(c, ".")
			if nested {
				c = inner
			}
			head += "\t" + strings.ToUpper(strings.ReplaceAll(c, "_", " "))
		}
		printLine(w, head)
		for _, e := range entities {
			line := visible(n.idOf(e))
			for _, c := range n.columns {
				line += "\t" + fieldText(n.inner(e), c)
			}
			printLine(w, line)
		}
	})
}

func (a *app) nounGetCommand(n *noun) *cobra.Command {
	var by acting
	var asOf string
	cmd := &cobra.Command{
		Use:     n.use("get"),
		Short:   "Show " + n.article() + ", as an organisation file says it",
		Example: strings.TrimRight("  remit org "+n.name+" get "+n.exampleID(), " ") + "\n" + strings.TrimRight("  remit org "+n.name+" get "+n.exampleID(), " ") + " -o json",
		Args:    n.args(),
		RunE: func(cmd *cobra.Command, args []string) error {
			consistency, err := a.requirement(asOf)
			if err != nil {
				return err
			}
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.organisations.GetEntity, &remitv1.GetEntityRequest{
				Store: store, As: by.as, Entity: n.ref(args), Consistency: consistency,
			})
			if err != nil {
				return organisationError(store, err)
			}
			return a.print(answer, func(w io.Writer) error { return n.yaml(w, answer.GetEntity()) })
		},
	}
	by.register(cmd)
	registerAsOf(cmd, &asOf)
	return cmd
}

// yaml writes an entity as an organisation file says it.
func (n *noun) yaml(w io.Writer, m *remitv1.Entity) error {
	e, err := rpc.EntityOf(m)
	if err != nil {
		return err
	}
	printf(w, "# version %d\n", m.GetVersion())
	out := orgfile.NewWriter(w, orgfile.Section(n.section))
	if err := out.Entity(e); err != nil {
		return err
	}
	return out.Close()
}

// exampleID is the id in the examples.
func (n *noun) exampleID() string {
	if n.id == "" {
		return ""
	}
	id, _, _ := strings.Cut(n.set, " ")
	return id
}

// A changing is what commands that change an organisation have in common.
type changing struct {
	acting
	ifVersion uint64
}

func (f *changing) register(cmd *cobra.Command, versioned bool) {
	f.acting.register(cmd)
	if versioned {
		cmd.Flags().Uint64Var(&f.ifVersion, "if-version", 0, "only if it has this `version` still, which get shows; 0 if it must not exist")
	}
}

// version is the version that is asked for, if any.
func (f *changing) version(cmd *cobra.Command) *uint64 {
	if !cmd.Flags().Changed("if-version") {
		return nil
	}
	return &f.ifVersion
}

// change carries edits out in one change.
func (f *changing) change(ctx context.Context, a *app, c *services, store string, edits ...*remitv1.Edit) (*remitv1.ChangeResponse, error) {
	answer, err := call(ctx, a, c.organisations.Change, &remitv1.ChangeRequest{
		Store: store, As: f.as, Edits: edits, IdempotencyKey: ulid.Make().String(), Reason: a.provenance.given(),
	})
	return answer, organisationError(store, err)
}

// printChange tells what a change did, and which shares it ended.
func (a *app) printChange(answer *remitv1.ChangeResponse, what string) error {
	return a.print(answer, func(w io.Writer) error {
		printLine(w, visible(what))
		writeDropped(w, answer.GetDropped())
		return nil
	})
}

// writeDropped tells which shares have ended.
func writeDropped(w io.Writer, dropped []*remitv1.DroppedShare) {
	for _, d := range dropped {
		printf(w, "  no longer shared: %s with %s\n", visible(d.GetRecord()), visible(shareText(d.GetShare())))
	}
}

func (a *app) nounSetCommand(n *noun) *cobra.Command {
	var f changing
	long := "Set makes " + n.article() + " or changes it: of one that is there, what no flag says stays as it is. A\nlist replaces the one that is there, and an empty text clears it."
	if n.id == "" {
		long = "Set changes the organisation: what no flag says stays as it is."
	}
	example := "  remit org " + n.name + " set " + n.set
	for _, more := range n.more {
		example += "\n  remit org " + n.name + " set " + more
	}
	cmd := &cobra.Command{
		Use:     n.use("set"),
		Short:   "Make " + n.article() + ", or change it",
		Long:    long,
		Example: example,
		Args:    n.args(),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			put, err := n.put(cmd, a, c, store, &f, args)
			if err != nil {
				return err
			}
			answer, err := f.change(cmd.Context(), a, c, store, &remitv1.Edit{Edit: &remitv1.Edit_Put{Put: put}})
			if err != nil {
				return err
			}
			done := "changed"
			if put.UpdateMask == nil {
				done = "made"
			}
			if len(answer.GetVersions()) == 1 {
				done += fmt.Sprintf(", version %d", answer.GetVersions()[0])
			}
			return a.printChange(answer, strings.TrimSpace(n.name+" "+strings.Join(args, ""))+" "+done)
		},
	}
	if n.id == "" {
		cmd.Short = "Change the organisation"
	}
	n.register(cmd)
	f.register(cmd, true)
	return cmd
}

// put is the edit that the flags say: of an entity that is there, what they say and no more.
func (n *noun) put(cmd *cobra.Command, a *app, c *services, store string, f *changing, args []string) (*remitv1.Put, error) {
	ref := n.ref(args)
	entity, err := n.named(ref.GetId())
	if err != nil {
		return nil, err
	}
	found, err := call(cmd.Context(), a, c.organisations.GetEntity, &remitv1.GetEntityRequest{
		Store: store, As: f.as, Entity: ref,
		Consistency: &remitv1.Consistency{Requirement: &remitv1.Consistency_FullyConsistent{FullyConsistent: true}},
	})
	missing := hasReason(err, remitv1.ErrorReason_ERROR_REASON_ENTITY_NOT_FOUND)
	if err != nil && !missing {
		return nil, organisationError(store, err)
	}
	put := &remitv1.Put{Entity: entity, IfVersion: f.version(cmd)}
	if !missing {
		put.Entity = proto.CloneOf(found.GetEntity())
	}
	paths, whole, err := n.fill(cmd, n.inner(put.Entity))
	if err != nil {
		return nil, err
	}
	version := put.GetEntity().GetVersion()
	put.Entity.Version = 0
	switch {
	case !missing && len(paths) == 0:
		return nil, fmt.Errorf("say what to change, with %s; see %s --help", n.flagNames(), cmd.CommandPath())
	case missing && put.IfVersion == nil:
		put.IfVersion = new(uint64) // nobody else may have made it meanwhile
	case !missing && whole && put.IfVersion == nil:
		put.IfVersion = &version // what is said is put beside what was read
	}
	if !missing {
		put.UpdateMask = &fieldmaskpb.FieldMask{Paths: paths}
	}
	return put, nil
}

// flagNames are some of a noun's flags, for messages.
func (n *noun) flagNames() string {
	var names []string
	for _, f := range n.flags {
		names = append(names, "--"+f.name)
	}
	return strings.Join(names[:min(3, len(names))], ", ") + " …"
}

func (a *app) nounDeleteCommand(n *noun) *cobra.Command {
	var f changing
	var heir string
	var sure bool
	long := "Delete removes " + n.plural() + ", all or none. What something else refers to cannot go."
	example := "  remit org " + n.name + " delete " + n.exampleID()
	if n.heir {
		long += " Whoever\nis named with --transfer-to takes over wherever it is referred to."
		example += " --transfer-to other"
	}
	cmd := &cobra.Command{
		Use:     "delete " + n.id + "...",
		Short:   "Delete " + n.plural(),
		Long:    long + " It asks first.",
		Example: example,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 && f.version(cmd) != nil {
				return errors.New("--if-version is of one; name one alone")
			}
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			if !sure {
				if err := a.confirm("Delete "+n.name+" "+visible(strings.Join(args, ", "))+"?", "nothing was deleted"); err != nil {
					return err
				}
			}
			var edits []*remitv1.Edit
			for i := range args {
				edits = append(edits, &remitv1.Edit{Edit: &remitv1.Edit_Delete{Delete: &remitv1.Delete{
					Entity: n.ref(args[i : i+1]), TransferTo: heir, IfVersion: f.version(cmd),
				}}})
			}
			answer, err := f.change(cmd.Context(), a, c, store, edits...)
			if n.heir && heir == "" && hasReason(err, remitv1.ErrorReason_ERROR_REASON_INVALID_ORGANISATION) {
				err = &advised{err: err, advice: "--transfer-to names the " + n.name + " that takes over"}
			}
			if err != nil {
				return err
			}
			return a.printChange(answer, n.name+" "+strings.Join(args, ", ")+" deleted")
		},
	}
	if n.heir {
		cmd.Flags().StringVar(&heir, "transfer-to", "", "the `"+n.name+"` that takes over")
	}
	cmd.Flags().BoolVarP(&sure, "yes", "y", false, "do not ask")
	f.register(cmd, true)
	return cmd
}

func (a *app) moveHoldersCommand(n *noun) *cobra.Command {
	var f changing
	var to string
	cmd := &cobra.Command{
		Use:     "move-holders " + n.id,
		Short:   "Give all who have a " + n.name + " another one",
		Long:    "Move-holders gives everybody who has a " + n.name + " another one, in one change.",
		Example: "  remit org " + n.name + " move-holders " + n.exampleID() + " --to other",
		Args:    n.args(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return errors.New("say which they get instead, with --to")
			}
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := f.change(cmd.Context(), a, c, store, &remitv1.Edit{Edit: &remitv1.Edit_MoveHolders{
				MoveHolders: &remitv1.MoveHolders{From: n.ref(args), To: to},
			}})
			if err != nil {
				return err
			}
			return a.printChange(answer, "all holders of "+n.name+" "+args[0]+" have "+to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the `"+n.name+"` that they get")
	f.register(cmd, false)
	return cmd
}
