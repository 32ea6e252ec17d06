package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/graph/model"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (a *app) modelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "model",
		Short:   "Write, show, compare and validate models",
		GroupID: groupStores,
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(a.modelWriteCommand(), a.modelShowCommand(), a.modelListCommand(), a.modelDiffCommand(), a.modelValidateCommand())
	return cmd
}

// modelFileHelp says which files hold a model.
const modelFileHelp = `FILE is the modelling language (*.fga), its JSON form (*.json), a list of modules
(fga.mod), or a store file (*.fga.yaml); - is standard input.`

// modelInput reads a model from whatever kind of file holds one.
func (a *app) modelInput(name string) (*model.Model, *remitv1.ModelSource, error) {
	var m *model.Model
	var source storefile.Source
	switch {
	case name == "-":
		data, err := io.ReadAll(a.stdin)
		if err != nil {
			return nil, nil, err
		}
		shown := "standard input"
		if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
			shown += ".json"
		}
		m, source, err = storefile.ReadModelWith(shown, func(string) ([]byte, error) { return data, nil })
		if err != nil {
			return nil, nil, err
		}
	case strings.HasSuffix(name, ".yaml"), strings.HasSuffix(name, ".yml"):
		file, err := storefile.Read(name)
		if err != nil {
			return nil, nil, err
		}
		if file.Model == nil {
			return nil, nil, fmt.Errorf("%s holds no model", name)
		}
		m, source = file.Model, file.Source
	default:
		var err error
		if m, source, err = storefile.ReadModel(name); err != nil {
			return nil, nil, err
		}
	}
	return m, sourceMessage(source), nil
}

// sourceMessage is a model's text as the API carries it.
func sourceMessage(s storefile.Source) *remitv1.ModelSource {
	switch {
	case s.JSON != "":
		return &remitv1.ModelSource{Source: &remitv1.ModelSource_Json{Json: s.JSON}}
	case s.Modules != nil:
		modules := &remitv1.Modules{Schema: s.Schema}
		for _, f := range s.Modules {
			modules.Files = append(modules.Files, &remitv1.ModuleFile{Name: f.Name, Contents: f.Contents})
		}
		return &remitv1.ModelSource{Source: &remitv1.ModelSource_Modules{Modules: modules}}
	}
	return &remitv1.ModelSource{Source: &remitv1.ModelSource_Dsl{Dsl: s.DSL}}
}

func (a *app) modelWriteCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "write FILE",
		Short: "Make a model the store's newest",
		Long: `Write validates a model and makes it the newest of the store. A model equal to the
newest makes no new version.

` + modelFileHelp,
		Example: "  remit model write shop.fga\n  remit model write modules/fga.mod --store shop",
		Args:    words(1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			_, source, err := a.modelInput(args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			store, err := a.storeName(cmd.Context(), c)
			if err != nil {
				return err
			}
			answer, err := call(cmd.Context(), a, c.models.WriteModel, &remitv1.WriteModelRequest{Store: store, Source: source, Reason: reason})
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error {
				if answer.GetCreated() {
					_, err = fmt.Fprintf(w, "model %s written\n", answer.GetModelId())
				} else {
					_, err = fmt.Fprintf(w, "model %s is the newest already; nothing written\n", answer.GetModelId())
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit `trail`")
	return cmd
}

func (a *app) modelShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show [MODEL-ID]",
		Short:   "Show a model, by default the newest",
		Example: "  remit model show\n  remit model show --json >model.json\n  remit model show 01K7Z0Q3T9V6M2N4P8R1S5W7XY",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, scope, err := a.ask(cmd, &circumstance{})
			if err != nil {
				return err
			}
			request := &remitv1.GetModelRequest{Store: scope.GetStore()}
			if len(args) == 1 {
				request.ModelId = args[0]
			}
			answer, err := call(cmd.Context(), a, c.models.GetModel, request)
			if err != nil {
				return err
			}
			return a.print(answer.GetModel(), func(w io.Writer) error {
				text := answer.GetModel().GetDsl()
				if asJSON {
					text = answer.GetModel().GetJson()
				}
				_, err := fmt.Fprintln(w, strings.TrimRight(text, "\n"))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "show OpenFGA's JSON form instead of the modelling language")
	return cmd
}

func (a *app) modelListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the versions of the store's model, newest first",
		Example: "  remit model list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, scope, err := a.ask(cmd, &circumstance{})
			if err != nil {
				return err
			}
			all := &remitv1.ListModelsResponse{}
			for {
				answer, err := call(cmd.Context(), a, c.models.ListModels, &remitv1.ListModelsRequest{
					Store: scope.GetStore(), PageSize: page, Cursor: all.GetCursor(),
				})
				if err != nil {
					return err
				}
				all.Models, all.Cursor = append(all.Models, answer.GetModels()...), answer.GetCursor()
				if all.GetCursor() == "" {
					break
				}
			}
			return a.print(all, func(w io.Writer) error {
				return columns(w, func(w io.Writer) {
					printLine(w, "MODEL\tSCHEMA\tWRITTEN")
					for _, m := range all.GetModels() {
						printf(w, "%s\t%s\t%s\n", m.GetId(), m.GetSchema(), instantText(m.GetCreatedAt().AsTime()))
					}
				})
			})
		},
	}
}

func (a *app) modelDiffCommand() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "diff FILE|MODEL-ID [FILE]",
		Short: "Say what changes in meaning between two models",
		Long: `Diff compares the store's newest model (or the one given by --from) with a file or
another version. With two files it compares these and needs no server.

` + modelFileHelp,
		Example: "  remit model diff shop.fga\n  remit model diff old.fga new.fga\n  remit model diff --from 01K7Z0Q3T9V6M2N4P8R1S5W7XY shop.fga",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			answer, err := a.diffModels(cmd, from, args)
			if err != nil {
				return err
			}
			return a.print(answer, func(w io.Writer) error { return writeDiff(w, colours(a.stdout), answer.GetChanges()) })
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "compare with the model of this `id` instead of the newest")
	return cmd
}

func (a *app) diffModels(cmd *cobra.Command, from string, args []string) (*remitv1.DiffModelsResponse, error) {
	if len(args) == 2 {
		if from != "" {
			return nil, errors.New("--from has no meaning beside two files")
		}
		before, _, err := a.modelInput(args[0])
		if err != nil {
			return nil, err
		}
		after, _, err := a.modelInput(args[1])
		if err != nil {
			return nil, err
		}
		return diffMessage(model.Diff(before, after)), nil
	}
	request := &remitv1.DiffModelsRequest{FromModelId: from}
	if isModelID(args[0]) {
		request.To = &remitv1.DiffModelsRequest_ToModelId{ToModelId: args[0]}
	} else {
		_, source, err := a.modelInput(args[0])
		if err != nil {
			return nil, err
		}
		request.To = &remitv1.DiffModelsRequest_ToSource{ToSource: source}
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	if request.Store, err = a.storeName(cmd.Context(), c); err != nil {
		return nil, err
	}
	return call(cmd.Context(), a, c.models.DiffModels, request)
}

// isModelID reports whether a text is a ULID and so no likely name of a file.
func isModelID(s string) bool {
	return len(s) == 26 && strings.Trim(s, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") == ""
}

func writeDiff(w io.Writer, p palette, changes []*remitv1.ModelChange) error {
	if len(changes) == 0 {
		printLine(w, "the models mean the same")
	}
	for _, c := range changes {
		printLine(w, p.bold(c.GetSubject()))
		for _, line := range strings.Split(strings.TrimRight(c.GetFrom(), "\n"), "\n") {
			if c.GetFrom() != "" {
				printLine(w, p.bad("- "+line))
			}
		}
		for _, line := range strings.Split(strings.TrimRight(c.GetTo(), "\n"), "\n") {
			if c.GetTo() != "" {
				printLine(w, p.good("+ "+line))
			}
		}
	}
	return nil
}

func (a *app) modelValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use:         "validate FILE...",
		Short:       "Say all that is wrong with models, without a server",
		Long:        "Validate prints every fault of the models with file, line and column.\n\n" + modelFileHelp,
		Example:     "  remit model validate shop.fga\n  remit model validate */fga.mod",
		Args:        cobra.MinimumNArgs(1),
		Annotations: local,
		RunE: func(_ *cobra.Command, args []string) error {
			var faults []error
			for _, name := range args {
				if _, _, err := a.modelInput(name); err != nil {
					faults = append(faults, err)
					continue
				}
				printf(a.stdout, "%s is valid\n", name)
			}
			return errors.Join(faults...)
		},
	}
}

// diffMessage is a comparison as the API carries it.
func diffMessage(changes []model.Change) *remitv1.DiffModelsResponse {
	kinds := map[model.ChangeKind]remitv1.ModelChange_Kind{
		model.Added:   remitv1.ModelChange_KIND_ADDED,
		model.Removed: remitv1.ModelChange_KIND_REMOVED,
		model.Changed: remitv1.ModelChange_KIND_CHANGED,
	}
	answer := &remitv1.DiffModelsResponse{}
	for _, c := range changes {
		answer.Changes = append(answer.Changes, &remitv1.ModelChange{Kind: kinds[c.Kind], Subject: c.Subject, From: c.From, To: c.To})
	}
	return answer
}
