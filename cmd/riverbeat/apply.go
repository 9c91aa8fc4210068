package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/riverbeat/riverbeat/app/api/client"
)

func (p *program) applyCommand() *cobra.Command {
	r := &remote{program: p}
	var file, prune string
	var dryRun bool
	command := &cobra.Command{
		Use: "apply -f FILE", Short: "Make, change and delete schedules so that they are as a file says, over HTTP",
		Long: "The file is JSON or YAML with a list, schedules, of whole schedules. All of it is done,\n" +
			"or nothing; the same file once more changes nothing. With --prune, schedules of the\n" +
			"namespace that the selector selects and that aren't in the file are deleted.",
		Example: "  riverbeat apply -f schedules.yaml --prune team=growth --dry-run",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return &usageError{errors.New("give a file with -f")}
			}
			document, err := r.application(cmd, file, prune, dryRun)
			if err != nil {
				return err
			}
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				applied, err := api.ApplyWithBodyWithResponse(ctx, jsonType, bytes.NewReader(document))
				if err != nil {
					return err
				}
				is := applied.JSON200
				defer func() {
					fmt.Fprintf(r.stderr, "%d created, %d updated, %d deleted, %d unchanged", is.Created, is.Updated, is.Deleted, is.Unchanged)
					if is.DryRun {
						fmt.Fprint(r.stderr, " (dry run: nothing was written)")
					}
					fmt.Fprintln(r.stderr)
				}()
				return r.show(applied.Body, func(w io.Writer) error {
					writeChanges(w, is.Changes)
					return nil
				})
			})
		},
	}
	r.flags(command)
	f := command.Flags()
	f.StringVarP(&file, "file", "f", "", "JSON or YAML; - is the standard input")
	f.StringVar(&prune, "prune", "", "selector by labels, such as team=growth, of what is deleted when it isn't in the file")
	f.BoolVar(&dryRun, "dry-run", false, "only show what would change")
	return command
}

// application is the file's document with what the flags say instead.
func (r *remote) application(cmd *cobra.Command, file, prune string, dryRun bool) ([]byte, error) {
	text, err := readDocument(file, cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	var document map[string]json.RawMessage
	if json.Unmarshal(text, &document) != nil || document == nil {
		return text, nil // the server says what is wrong with it
	}
	for name, value := range map[string]any{"namespace": r.namespace, "prune": prune, "dry_run": dryRun} {
		if value == "" || value == false {
			continue
		}
		if document[name], err = json.Marshal(value); err != nil {
			return nil, fmt.Errorf("write the document: %w", err)
		}
	}
	text, err = json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("write the document: %w", err)
	}
	return text, nil
}

// writeChanges is what was applied for people: + is new, ~ has changed, - is gone.
func writeChanges(w io.Writer, changes []client.Applied) {
	signs := map[client.AppliedOp]string{"created": "+", "updated": "~", "deleted": "-"}
	for _, c := range changes {
		fmt.Fprintf(w, "%s %s/%s\n", signs[c.Op], c.Namespace, c.Name)
		writeFields(w, c.Changes)
	}
}

// writeFields is a line for each field that has changed.
func writeFields(w io.Writer, changes []client.FieldChange) {
	for _, f := range changes {
		fmt.Fprintf(w, "    %s: %s → %s\n", f.Field, f.Before, f.After)
	}
}

func (r *remote) revisionsCommand() *cobra.Command {
	var limit int
	command := &cobra.Command{
		Use: "revisions SCHEDULE", Short: "Show who changed a schedule, and what, newest first", Args: named,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				params := client.ListRevisionsParams{Namespace: given(r.namespace)}
				return showList(r, "revisions", limit, api.Revisions(ctx, scheduleID(args[0]), params), writeRevisions)
			})
		},
	}
	command.Flags().IntVar(&limit, "limit", 20, "show no more than so many; 0: all")
	return command
}

func writeRevisions(list ...client.Revision) func(io.Writer) error {
	return func(w io.Writer) error {
		for _, one := range list {
			fmt.Fprintf(w, "%d %s %s by %s (%s)\n", one.Version, instant(&one.ChangedAt), one.Op, one.Actor, one.How)
			writeFields(w, one.Changes)
		}
		return nil
	}
}

func (r *remote) restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restore SCHEDULE VERSION", Short: "Give a schedule the definition that a version had; one that is gone, by its id, is made anew",
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			version, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil {
				return &usageError{errors.New("the version must be a number")}
			}
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				restored, err := api.RestoreRevisionWithResponse(ctx, scheduleID(args[0]), version,
					&client.RestoreRevisionParams{IfMatch: client.AnyVersion, Namespace: given(r.namespace)})
				if err != nil {
					return err
				}
				is := restored.JSON200
				if is == nil {
					is = restored.JSON201
				}
				return r.show(restored.Body, scheduleTable(*is))
			})
		},
	}
}
