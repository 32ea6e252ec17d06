package main

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) recordTransferCommand() *cobra.Command {
	var f changing
	transfer := &remitv1.TransferRecords{}
	cmd := &cobra.Command{
		Use:   "transfer [MODULE:ID...]",
		Short: "Give records to another owner",
		Long: `Transfer gives records to another owner, or with --owned-by all that a user owns. Their
shares end, unless the organisation keeps them; it says which.`,
		Example: "  remit org record transfer deal:orion deal:vega --to eve\n  remit org record transfer --owned-by rob --to eve",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case transfer.GetTo() == "":
				return errors.New("say who gets them, with --to USER")
			case (len(args) > 0) == (transfer.GetOwnedBy() != ""):
				return errors.New("name either the records, or with --owned-by whose they are")
			}
			transfer.Records, transfer.To, transfer.OwnedBy = args, seatID(transfer.GetTo()), seatID(transfer.GetOwnedBy())
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := f.change(cmd.Context(), a, c, store, &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: transfer}})
			if err != nil {
				return err
			}
			what := strings.Join(args, ", ")
			if len(args) == 0 {
				what = "all that " + transfer.GetOwnedBy() + " owned"
			}
			return a.printChange(answer, what+" transferred to "+transfer.GetTo())
		},
	}
	cmd.Flags().StringVar(&transfer.To, "to", "", "the `user` who gets them")
	cmd.Flags().StringVar(&transfer.OwnedBy, "owned-by", "", "all that this `user` owns")
	f.register(cmd, false)
	return cmd
}

func (a *app) shareCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "share", Short: "Shares: one record for somebody by name"}
	cmd.AddCommand(a.shareListCommand(), a.shareAddCommand(), a.shareRemoveCommand())
	return cmd
}

func (a *app) shareListCommand() *cobra.Command {
	var by acting
	cmd := &cobra.Command{
		Use:     "list RECORD",
		Short:   "List with whom a record is shared",
		Example: "  remit org share list deal:orion",
		Args:    words(1, "RECORD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			consistency, err := a.requirement("")
			if err != nil {
				return err
			}
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.organisations.GetEntity, &remitv1.GetEntityRequest{
				Store: store, As: by.as, Consistency: consistency,
				Entity: &remitv1.EntityRef{Kind: remitv1.EntityKind_ENTITY_KIND_RECORD, Id: args[0]},
			})
			if err != nil {
				return organisationError(store, err)
			}
			return a.print(answer, func(w io.Writer) error {
				return columns(w, func(w io.Writer) {
					printLine(w, "TO\tLEVEL\tRELATED\tEXPIRES\tBY\tREASON")
					for _, s := range answer.GetEntity().GetRecord().GetShares() {
						expires := "never"
						if s.GetExpiresAt() != nil {
							expires = instantText(s.GetExpiresAt().AsTime())
						}
						printf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", visible(s.GetTo()), levelText(s.GetLevel()), yesNo(s.GetRelated()), expires,
							dash(visible(s.GetGrantedBy())), dash(visible(s.GetReason())))
					}
				})
			})
		},
	}
	by.register(cmd)
	return cmd
}

func (a *app) shareAddCommand() *cobra.Command {
	var f changing
	var to []string
	var level, until, note string
	var related bool
	cmd := &cobra.Command{
		Use:   "add RECORD...",
		Short: "Share records with somebody",
		Long: `Add shares every record with every recipient, in one change. A share that a recipient has
already is replaced. A recipient is user:ann, role:rep, role-and-subordinates:rep,
group:emea or everyone.`,
		Example: `  remit org share add deal:orion --to user:eve --level edit
  remit org share add deal:orion deal:vega --to role:rep,group:emea --level view --expires 2026-12-31T00:00:00Z --note audit`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(to) == 0 {
				return errors.New("say with whom, with --to PARTY")
			}
			number, err := enumNumber(remitv1.Level(0).Descriptor(), level)
			if err != nil {
				return errors.New("say what they get, with --level view, edit or full")
			}
			expires, err := parseExpiry(until)
			if err != nil {
				return err
			}
			share := &remitv1.ShareRecords{Records: args}
			for _, party := range to {
				share.Shares = append(share.Shares, &remitv1.Share{
					To: party, Level: remitv1.Level(number), Related: related, ExpiresAt: expires, Reason: note,
				})
			}
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := f.change(cmd.Context(), a, c, store, &remitv1.Edit{Edit: &remitv1.Edit_Share{Share: share}})
			if err != nil {
				return err
			}
			return a.printChange(answer, strings.Join(args, ", ")+" shared with "+strings.Join(to, ", ")+": "+level)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&to, "to", nil, "the `parties` who get it")
	flags.StringVar(&level, "level", "", "what they get: view, edit or full")
	flags.BoolVar(&related, "related", false, "the same on the records directly below")
	flags.StringVar(&until, "expires", "", "from this `instant` on it does not count, or after a period: 30d (default never)")
	flags.StringVar(&note, "note", "", "`why`, kept with the share")
	complete(cmd, "level", "view", "edit", "full")
	f.register(cmd, false)
	return cmd
}

func (a *app) shareRemoveCommand() *cobra.Command {
	var f changing
	var from []string
	var all bool
	cmd := &cobra.Command{
		Use:     "remove RECORD...",
		Short:   "Stop sharing records with somebody, or with all",
		Long:    `Remove ends the shares of every record with every party that is named, in one change.`,
		Example: "  remit org share remove deal:orion --from user:eve\n  remit org share remove deal:orion deal:vega --all",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(from) > 0) {
				return errors.New("say with whom to stop, with --from PARTY, or --all")
			}
			c, store, err := a.organisation(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := f.change(cmd.Context(), a, c, store, &remitv1.Edit{Edit: &remitv1.Edit_Unshare{
				Unshare: &remitv1.UnshareRecords{Records: args, From: from},
			}})
			if err != nil {
				return err
			}
			who := strings.Join(from, ", ")
			if all {
				who = "anybody"
			}
			return a.printChange(answer, strings.Join(args, ", ")+" no longer shared with "+who)
		},
	}
	cmd.Flags().StringSliceVar(&from, "from", nil, "the `parties` to stop sharing with")
	cmd.Flags().BoolVar(&all, "all", false, "everybody with whom they are shared")
	f.register(cmd, false)
	return cmd
}
