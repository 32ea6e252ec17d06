package main

import (
	"io"

	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Show who the server takes you for, and what you may do",
		GroupID: groupIdentity,
		Example: "  remit whoami\n  remit whoami -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			c, err := a.identities()
			if err != nil {
				return err
			}
			who, err := call(cmd.Context(), a, c.WhoAmI, &remitv1.WhoAmIRequest{})
			if err != nil {
				return err
			}
			return a.print(who, func(w io.Writer) error {
				if who.GetPrincipal() == "" {
					printLine(w, "anybody: this server asks nobody who they are, and lets everybody do everything")
					return nil
				}
				return columns(w, func(w io.Writer) {
					printf(w, "principal\t%s\n", who.GetPrincipal())
					printf(w, "grants\t%s\n", grantsText(who.GetGrants(), a.storeNames(cmd.Context(), who.GetGrants()...)))
					printf(w, "expires\t%s\n", expiryText(who.GetExpiresAt(), false))
				})
			})
		},
	}
}
