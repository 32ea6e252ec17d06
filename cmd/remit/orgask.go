package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// An inquiry is the flags that questions to an organisation share.
type inquiry struct {
	acting
	circumstance
}

func (q *inquiry) register(cmd *cobra.Command) {
	q.acting.register(cmd)
	cmd.Flags().StringVar(&q.at, "at", "", "ask about this `instant`, as 2026-03-29T22:00:00Z: shifts, leave and expiry (default: now)")
	q.registerAsOf(cmd)
}

// inquire prepares a question to an organisation.
func (a *app) inquire(cmd *cobra.Command, q *inquiry) (*services, *remitv1.OrganisationScope, error) {
	scope := &remitv1.OrganisationScope{As: q.as}
	var err error
	if scope.Consistency, err = a.requirement(q.asOf); err != nil {
		return nil, nil, err
	}
	if q.at != "" {
		at, err := parseInstant(q.at)
		if err != nil {
			return nil, nil, fmt.Errorf("--at: %w", err)
		}
		scope.At = timestamppb.New(at)
	}
	var c *services
	c, scope.Store, err = a.organisation(cmd.Context())
	return c, scope, err
}

// seatID is the id of a user, who may be written as in the graph, too: user:ann.
func seatID(text string) string { return strings.TrimPrefix(text, "user:") }

// parseDeed reads USER ACTION [ON [FIELD]].
func parseDeed(args []string) *remitv1.Deed {
	d := &remitv1.Deed{User: seatID(args[0]), Action: args[1]}
	if len(args) > 2 {
		d.On = args[2]
	}
	if len(args) > 3 {
		d.Field = args[3]
	}
	return d
}

// deedArgs accepts the arguments of parseDeed.
func deedArgs(_ *cobra.Command, args []string) error {
	if len(args) < 2 || len(args) > 4 {
		return fmt.Errorf("expected USER ACTION [RECORD [FIELD]], got %s", counted(len(args), "argument"))
	}
	return nil
}

const deedHelp = `To a record, an action is view, edit, delete, share, transfer, export, or add_MODULE for a
note and the like; in a module it is create; in the organisation it is a tool, such as
mass_update, or a setup permission, such as manage_roles. A field goes with view and edit.`

func (a *app) orgCanCommand() *cobra.Command {
	var q inquiry
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "can USER ACTION [RECORD|MODULE [FIELD]]",
		Short: "Ask whether a user may do something",
		Long: `Can answers whether a user may do something to a record, to one of its fields, in a
module, or in the organisation.

` + deedHelp + `

With --exit-code the exit status is 1 if the answer is no.`,
		Example: `  remit org can rob view deal:orion
  remit org can rob edit deal:orion amount
  remit org can rob create deal
  remit org can rob manage_roles --exit-code
  remit org can rob view deal:orion --at 2026-03-29T22:00:00Z --as-of 7d`,
		Args: deedArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, scope, err := a.inquire(cmd, &q)
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.organisations.Can, &remitv1.CanRequest{Scope: scope, Deed: parseDeed(args)})
			if err != nil {
				return organisationError(scope.GetStore(), err)
			}
			err = a.print(answer, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, allowedText(a.stdout, answer.GetAllowed()))
				return err
			})
			if err == nil && exitCode && !answer.GetAllowed() {
				return errNo
			}
			return err
		},
	}
	q.register(cmd)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 if the answer is no")
	return cmd
}

func (a *app) orgFieldsCommand() *cobra.Command {
	var q inquiry
	cmd := &cobra.Command{
		Use:   "fields USER RECORD",
		Short: "List which fields of a record a user may read and write",
		Long: `Fields lists the fields of a record that a user may read, and whether they may be
written, too. Fields that the organisation does not know are not listed: nobody is kept
from them but by the record.`,
		Example: "  remit org fields rob deal:orion\n  remit org fields rob deal:orion -o json",
		Args:    words(2, "USER RECORD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, scope, err := a.inquire(cmd, &q)
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.organisations.CanFields, &remitv1.CanFieldsRequest{Scope: scope, User: seatID(args[0]), Record: args[1]})
			if err != nil {
				return organisationError(scope.GetStore(), err)
			}
			return a.print(answer, func(w io.Writer) error {
				write := map[string]bool{}
				for _, id := range answer.GetWritable() {
					write[id] = true
				}
				return columns(w, func(w io.Writer) {
					for _, id := range answer.GetReadable() {
						level := "read"
						if write[id] {
							level = "write"
						}
						printf(w, "%s\t%s\n", visible(id), level)
					}
				})
			})
		},
	}
	q.register(cmd)
	return cmd
}

func (a *app) orgActionsCommand() *cobra.Command {
	var q inquiry
	cmd := &cobra.Command{
		Use:   "actions USER [RECORD|MODULE]",
		Short: "List what a user may do",
		Long: `Actions lists what a user may do to a record; or in a module, as far as the profiles say;
or, without either, which tools and setup permissions the user has.`,
		Example: "  remit org actions rob deal:orion\n  remit org actions rob deal\n  remit org actions rob",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, scope, err := a.inquire(cmd, &q)
			if err != nil {
				return err
			}
			request := &remitv1.ActionsRequest{Scope: scope, User: seatID(args[0])}
			if len(args) > 1 {
				request.On = args[1]
			}
			answer, err := call(cmd.Context(), a, c.organisations.Actions, request)
			if err != nil {
				return organisationError(scope.GetStore(), err)
			}
			return a.print(answer, func(w io.Writer) error {
				for _, action := range answer.GetActions() {
					printLine(w, action)
				}
				return nil
			})
		},
	}
	q.register(cmd)
	return cmd
}

func (a *app) orgListCommand() *cobra.Command {
	var q inquiry
	var action string
	var limit int
	cmd := &cobra.Command{
		Use:   "list USER MODULE",
		Short: "List the records of a module that a user may view, or do something else to",
		Long: `List prints the records of a module that a user may do something to, one a line. It is
complete unless --limit cuts it, and then it says so.`,
		Example: "  remit org list rob deal\n  remit org list rob deal --action edit --limit 20",
		Args:    words(2, "USER MODULE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, scope, err := a.inquire(cmd, &q)
			if err != nil {
				return err
			}
			all := &remitv1.ListRecordsResponse{}
			for {
				answer, err := call(cmd.Context(), a, c.organisations.ListRecords, &remitv1.ListRecordsRequest{
					Scope: scope, User: seatID(args[0]), Module: args[1], Action: action,
					PageSize: pageSize(limit, len(all.GetIds())), Cursor: all.GetCursor(),
				})
				if err != nil {
					return organisationError(scope.GetStore(), err)
				}
				all.Ids = append(all.Ids, answer.GetIds()...)
				all.Cursor, all.Token, all.AsOf = answer.GetCursor(), answer.GetToken(), answer.GetAsOf()
				if all.GetCursor() == "" || limit > 0 && len(all.GetIds()) >= limit {
					break
				}
			}
			a.tellCut(all.GetCursor(), limit)
			return a.print(all, func(w io.Writer) error {
				for _, id := range all.GetIds() {
					printf(w, "%s:%s\n", args[1], visible(id))
				}
				return nil
			})
		},
	}
	q.register(cmd)
	cmd.Flags().StringVar(&action, "action", "view", "what the user may do: view, edit, delete, share, transfer …")
	cmd.Flags().IntVar(&limit, "limit", 0, "stop after so many (default: list all)")
	return cmd
}

func (a *app) orgWhoCommand() *cobra.Command {
	var q inquiry
	var action string
	var limit int
	cmd := &cobra.Command{
		Use:     "who RECORD",
		Short:   "List the users who may view a record, or do something else to it",
		Long:    `Who prints the users who may do something to a record, one a line.`,
		Example: "  remit org who deal:orion\n  remit org who deal:orion --action edit --as-of 2026-03-03T22:00Z",
		Args:    words(1, "RECORD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, scope, err := a.inquire(cmd, &q)
			if err != nil {
				return err
			}
			all := &remitv1.ListUsersWithAccessResponse{}
			for {
				answer, err := call(cmd.Context(), a, c.organisations.ListUsersWithAccess, &remitv1.ListUsersWithAccessRequest{
					Scope: scope, Record: args[0], Action: action,
					PageSize: pageSize(limit, len(all.GetUsers())), Cursor: all.GetCursor(),
				})
				if err != nil {
					return organisationError(scope.GetStore(), err)
				}
				all.Users = append(all.Users, answer.GetUsers()...)
				all.Cursor, all.Token, all.AsOf = answer.GetCursor(), answer.GetToken(), answer.GetAsOf()
				if all.GetCursor() == "" || limit > 0 && len(all.GetUsers()) >= limit {
					break
				}
			}
			a.tellCut(all.GetCursor(), limit)
			return a.print(all, func(w io.Writer) error {
				for _, id := range all.GetUsers() {
					printLine(w, visible(id))
				}
				return nil
			})
		},
	}
	q.register(cmd)
	cmd.Flags().StringVar(&action, "action", "view", "what they may do: view, edit, delete, share, transfer …")
	cmd.Flags().IntVar(&limit, "limit", 0, "stop after so many (default: list all)")
	return cmd
}

func (a *app) orgWhyCommand() *cobra.Command {
	var q inquiry
	cmd := &cobra.Command{
		Use:   "why USER ACTION [RECORD|MODULE [FIELD]]",
		Short: "Say on what grounds a user may do something, or what is missing",
		Long: `Why says on which grounds a user may do something, the strongest first, and who set it so;
or, if the user may not, what is missing and what would mend it.

` + deedHelp,
		Example: "  remit org why rob view deal:orion\n  remit org why rob edit deal:orion amount --as ada",
		Args:    deedArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, scope, err := a.inquire(cmd, &q)
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.organisations.Why, &remitv1.WhyRequest{Scope: scope, Deed: parseDeed(args)})
			if err != nil {
				return organisationError(scope.GetStore(), err)
			}
			return a.print(answer, func(w io.Writer) error { return a.printWhy(w, answer, strings.Join(args, " ")) })
		},
	}
	q.register(cmd)
	return cmd
}

// printWhy writes grounds for people.
func (a *app) printWhy(w io.Writer, answer *remitv1.WhyResponse, question string) error {
	paint := colours(a.stdout)
	printf(w, "%s  %s\n", allowedText(a.stdout, answer.GetAllowed()), paint.bold(visible(question)))
	write := func(mark string, grounds []*remitv1.Ground) {
		for _, g := range grounds {
			printf(w, "  %s %s\n", mark, visible(g.GetText()))
			var set []string
			if g.GetBy() != "" {
				set = append(set, "by "+visible(g.GetBy()))
			}
			if g.GetSince() != nil {
				set = append(set, "since "+instantText(g.GetSince().AsTime().Truncate(time.Second)))
			}
			if len(set) > 0 {
				printf(w, "      %s\n", paint.faint("set "+strings.Join(set, ", ")))
			}
		}
	}
	write(paint.good("✓"), answer.GetGrounds())
	write(paint.bad("✗"), answer.GetMissing())
	if answer.GetRedacted() {
		printf(w, "  %s\n", paint.faint("… something was left out that the asker may not see"))
	}
	return nil
}

func (a *app) orgOnDutyCommand() *cobra.Command {
	var q inquiry
	request := &remitv1.OnDutyRequest{}
	cmd := &cobra.Command{
		Use:     "on-duty",
		Short:   "List who works now, or at an instant, and until when",
		Long:    `On-duty lists who works, shift by shift, and until when: the end of the hours, a break, leave.`,
		Example: "  remit org on-duty\n  remit org on-duty --shift late --at 2026-03-29T22:00:00Z\n  remit org on-duty --user rob",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, scope, err := a.inquire(cmd, &q)
			if err != nil {
				return err
			}
			request.Scope, request.User, request.PageSize = scope, seatID(request.GetUser()), page
			all := &remitv1.OnDutyResponse{}
			for {
				request.Cursor = all.GetCursor()
				answer, err := call(cmd.Context(), a, c.organisations.OnDuty, request)
				if err != nil {
					return organisationError(scope.GetStore(), err)
				}
				all.Duties = append(all.Duties, answer.GetDuties()...)
				all.Cursor, all.Token, all.AsOf = answer.GetCursor(), answer.GetToken(), answer.GetAsOf()
				if all.GetCursor() == "" {
					break
				}
			}
			return a.print(all, func(w io.Writer) error {
				if len(all.GetDuties()) == 0 {
					printLine(w, "nobody is on duty")
					return nil
				}
				return columns(w, func(w io.Writer) {
					printLine(w, "USER\tSHIFT\tUNTIL")
					for _, d := range all.GetDuties() {
						until := "-"
						if d.GetUntil() != nil {
							until = instantText(d.GetUntil().AsTime())
						}
						printf(w, "%s\t%s\t%s\n", visible(d.GetUser()), visible(d.GetShift()), until)
					}
				})
			})
		},
	}
	q.register(cmd)
	cmd.Flags().StringVar(&request.Shift, "shift", "", "only this `shift`")
	cmd.Flags().StringVar(&request.User, "user", "", "only this `user`")
	return cmd
}

func (a *app) orgSeatsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "seats [LOGIN]",
		Short: "List the organisations in which a login has a seat",
		Long: `Seats lists the organisations in which a login, as an identity provider gives it, has a
seat. Without LOGIN it is the caller's own.`,
		Example: "  remit org seats ada@acme.example\n  remit org seats -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			request := &remitv1.ListSeatsRequest{}
			if len(args) > 0 {
				request.Login = args[0]
			}
			answer, err := call(cmd.Context(), a, c.organisations.ListSeats, request)
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error {
				return columns(w, func(w io.Writer) {
					printLine(w, "ORGANISATION\tUSER\tNAME\tSUSPENDED\tSTORE")
					for _, s := range answer.GetSeats() {
						printf(w, "%s\t%s\t%s\t%s\t%s\n", visible(s.GetOrganisation()), visible(s.GetSeat()), visible(s.GetName()), yesNo(s.GetSuspended()), s.GetStore())
					}
				})
			})
		},
	}
}

func yesNo(on bool) string {
	if on {
		return "yes"
	}
	return "no"
}
