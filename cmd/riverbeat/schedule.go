package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/riverbeat/riverbeat/app/api/client"
)

func (p *program) scheduleCommand() *cobra.Command {
	r := &remote{program: p}
	command := &cobra.Command{
		Use:   "schedule",
		Short: "List, create, edit, pause and run schedules, over HTTP",
		Long: "The riverbeat that is asked is at " + variable("url") + "; " + variable("token") + " holds the API token, if it wants one.\n" +
			"A schedule is named by its id or its name.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	r.flags(command)
	command.AddCommand(r.listCommand(), r.getCommand(), r.createCommand(), r.editCommand(), r.deleteCommand(),
		r.pauseCommand(), r.resumeCommand(), r.runCommand(), r.runsCommand(), r.revisionsCommand(), r.restoreCommand(), r.previewCommand())
	return command
}

func (r *remote) listCommand() *cobra.Command {
	var labels []string
	var state, kind, prefix string
	var limit int
	command := &cobra.Command{
		Use: "list", Short: "List schedules", Args: noArgs,
		Example: "  riverbeat schedule list --state paused --label team:growth",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				params := client.ListSchedulesParams{
					Namespace: given(r.namespace), Label: labels, State: given(client.ListSchedulesParamsState(state)), Kind: given(kind), NamePrefix: given(prefix),
				}
				return showList(r, "schedules", limit, api.Schedules(ctx, params), scheduleTable)
			})
		},
	}
	f := command.Flags()
	f.StringArrayVar(&labels, "label", nil, "only those with the label key:value; given several times, all must hold")
	f.StringVar(&state, "state", "", "only active, paused, completed or invalid ones")
	f.StringVar(&kind, "kind", "", "only those with jobs of the kind")
	f.StringVar(&prefix, "name-prefix", "", "only those whose name begins so")
	f.IntVar(&limit, "limit", 100, "list no more than so many; 0: all")
	return command
}

// first takes no more than so many of the list, all for 0.
func first[T any](limit int, list iter.Seq2[T, error]) (taken []T, more bool, err error) {
	taken = []T{}
	for one, err := range list {
		if err != nil {
			return nil, false, err
		}
		if limit > 0 && len(taken) == limit {
			return taken, true, nil
		}
		taken = append(taken, one)
	}
	return taken, false, nil
}

// showList writes no more than so many of the list, all for 0, under its name, and says
// when there are more.
func showList[T any](r *remote, name string, limit int, all iter.Seq2[T, error], table func(...T) func(io.Writer) error) error {
	list, more, err := first(limit, all)
	if err != nil {
		return err
	}
	if more {
		defer fmt.Fprintf(r.stderr, "there are more than %d: --limit 0 lists all\n", limit)
	}
	answer, err := json.Marshal(map[string]any{name: list})
	if err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return r.show(answer, table(list...))
}

func scheduleTable(list ...client.Schedule) func(io.Writer) error {
	return func(w io.Writer) error {
		fmt.Fprintln(w, "NAMESPACE\tNAME\tSTATE\tWHEN\tNEXT RUN\tLAST RUN\tVERSION")
		for _, s := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cell(s.Namespace), cell(&s.Name), cell(s.State), cell(s.Spec.Description), instant(s.NextRunAt), instant(s.LastRunAt), cell(s.Version))
		}
		return nil
	}
}

func instant(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func (r *remote) getCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get SCHEDULE", Short: "Show a schedule", Args: named,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				read, err := r.read(ctx, api, args[0])
				if err != nil {
					return err
				}
				return r.show(read.Body, scheduleTable(*read.JSON200))
			})
		},
	}
}

func (r *remote) read(ctx context.Context, api *client.API, name string) (*client.GetScheduleResponse, error) {
	return api.GetScheduleWithResponse(ctx, scheduleID(name), &client.GetScheduleParams{Namespace: given(r.namespace)})
}

// definition is what the flags say of a schedule.
type definition struct {
	file                      string
	cron, every, at, timezone string
	kind, args, queue         string
}

func (d *definition) specFlags(command *cobra.Command) {
	f := command.Flags()
	f.StringVar(&d.cron, "cron", "", `5 fields, or 6 with leading seconds, such as "0 3 * * 1-5"`)
	f.StringVar(&d.every, "every", "", `elapsed time, such as "15m"`)
	f.StringVar(&d.at, "at", "", `a single instant, such as "2030-01-01T09:00:00+09:00"`)
	f.StringVar(&d.timezone, "timezone", "", "zone that cron is read in (default: UTC)")
}

func (d *definition) spec() map[string]any {
	spec := map[string]any{}
	for name, text := range map[string]string{"cron": d.cron, "every": d.every, "at": d.at, "timezone": d.timezone} {
		if text != "" {
			spec[name] = text
		}
	}
	return spec
}

// document is what the flags or the file say. What is left out is left out, and what
// is wrong is for the server to say.
func (d *definition) document(namespace string, args []string, stdin io.Reader) ([]byte, error) {
	if (d.file != "") == (len(args) == 1) {
		return nil, &usageError{errors.New("give either a name and flags, or a file with -f")}
	}
	if d.file != "" {
		return readDocument(d.file, stdin)
	}
	job := map[string]any{"kind": d.kind}
	if d.queue != "" {
		job["queue"] = d.queue
	}
	if d.args != "" {
		if !json.Valid([]byte(d.args)) {
			return nil, &usageError{errors.New("--args must be JSON")}
		}
		job["args"] = json.RawMessage(d.args)
	}
	document := map[string]any{"name": args[0], "spec": d.spec(), "job": job}
	if namespace != "" {
		document["namespace"] = namespace
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("write the schedule: %w", err)
	}
	return text, nil
}

const jsonType = "application/json"

func (r *remote) createCommand() *cobra.Command {
	var d definition
	command := &cobra.Command{
		Use: "create NAME | create -f FILE", Short: "Create a schedule",
		Example: "  riverbeat schedule create nightly --cron \"0 3 * * *\" --timezone Asia/Tokyo --kind webhook --args '{\"url\": \"https://example.com/hook\"}'\n" +
			"  riverbeat schedule create -f nightly.yaml",
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			document, err := d.document(r.namespace, args, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				created, err := api.CreateScheduleWithBodyWithResponse(ctx, nil, jsonType, bytes.NewReader(document))
				if err != nil {
					return err
				}
				return r.show(created.Body, scheduleTable(*created.JSON201))
			})
		},
	}
	d.specFlags(command)
	f := command.Flags()
	f.StringVarP(&d.file, "file", "f", "", "JSON or YAML with the whole schedule; - is the standard input")
	f.StringVar(&d.kind, "kind", "", "kind of its River jobs")
	f.StringVar(&d.args, "args", "", "their arguments, a JSON object")
	f.StringVar(&d.queue, "queue", "", "their queue (default: default)")
	return command
}

func (r *remote) editCommand() *cobra.Command {
	var file, patch string
	command := &cobra.Command{
		Use: "edit SCHEDULE", Short: "Change a schedule, unless somebody else has changed it meanwhile",
		Long: "With -f the file is the whole definition from now on; if it has a version, as what\n" +
			"`riverbeat schedule get -o yaml` writes has, that is the one that may be changed. With\n" +
			"--patch only what it names changes; null sets a field back to its default.",
		Example: "  riverbeat schedule edit nightly --patch '{\"spec\": {\"cron\": \"0 4 * * *\"}}'\n" +
			"  riverbeat schedule get nightly -o yaml >nightly.yaml; vi nightly.yaml; riverbeat schedule edit nightly -f nightly.yaml",
		Args: named,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file == "") == (patch == "") {
				return &usageError{errors.New("give either -f or --patch")}
			}
			change := []byte(patch)
			if file != "" {
				var err error
				if change, err = readDocument(file, cmd.InOrStdin()); err != nil {
					return err
				}
			}
			return r.do(cmd, func(ctx context.Context, api *client.API) error { return r.edit(ctx, api, args[0], change, file != "") })
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "JSON or YAML with the whole definition; - is the standard input")
	command.Flags().StringVar(&patch, "patch", "", "JSON merge patch")
	return command
}

func (r *remote) edit(ctx context.Context, api *client.API, name string, change []byte, whole bool) error {
	var known struct{ Version *int64 }
	if whole {
		_ = json.Unmarshal(change, &known) // the server says what is wrong with it
	}
	tag := client.ETag(known.Version)
	if tag == "" {
		read, err := r.read(ctx, api, name)
		if err != nil {
			return err
		}
		tag = client.ETag(read.JSON200.Version)
	}
	if whole {
		edited, err := api.ReplaceScheduleWithBodyWithResponse(ctx, scheduleID(name), &client.ReplaceScheduleParams{IfMatch: tag, Namespace: given(r.namespace)}, jsonType, bytes.NewReader(change))
		if err != nil {
			return err
		}
		return r.show(edited.Body, scheduleTable(*edited.JSON200))
	}
	edited, err := api.PatchScheduleWithBodyWithResponse(ctx, scheduleID(name), &client.PatchScheduleParams{IfMatch: tag, Namespace: given(r.namespace)}, jsonType, bytes.NewReader(change))
	if err != nil {
		return err
	}
	return r.show(edited.Body, scheduleTable(*edited.JSON200))
}

// Whoever says by name that a schedule is to be deleted, paused or resumed means it
// as it is: these take any version.

func (r *remote) deleteCommand() *cobra.Command {
	var cancel bool
	command := &cobra.Command{
		Use: "delete SCHEDULE", Short: "Delete a schedule", Args: named,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				_, err := api.DeleteScheduleWithResponse(ctx, scheduleID(args[0]), &client.DeleteScheduleParams{
					IfMatch: client.AnyVersion, Namespace: given(r.namespace), CancelJobs: given(cancel),
				})
				if err == nil {
					fmt.Fprintln(r.stderr, "deleted")
				}
				return err
			})
		},
	}
	command.Flags().BoolVar(&cancel, "cancel-jobs", false, "cancel the jobs of its runs that aren't finished")
	return command
}

func (r *remote) pauseCommand() *cobra.Command {
	var reason string
	command := &cobra.Command{
		Use: "pause SCHEDULE", Short: "Pause a schedule", Args: named,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				paused, err := api.PauseScheduleWithResponse(ctx, scheduleID(args[0]),
					&client.PauseScheduleParams{IfMatch: client.AnyVersion, Namespace: given(r.namespace)}, client.Pause{Reason: given(reason)})
				if err != nil {
					return err
				}
				return r.show(paused.Body, scheduleTable(*paused.JSON200))
			})
		},
	}
	command.Flags().StringVar(&reason, "reason", "", "why")
	return command
}

func (r *remote) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "resume SCHEDULE", Short: "Resume a schedule: it goes on from now", Args: named,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				resumed, err := api.ResumeScheduleWithResponse(ctx, scheduleID(args[0]), &client.ResumeScheduleParams{IfMatch: client.AnyVersion, Namespace: given(r.namespace)})
				if err != nil {
					return err
				}
				return r.show(resumed.Body, scheduleTable(*resumed.JSON200))
			})
		},
	}
}

func runTable(list ...client.Run) func(io.Writer) error {
	return func(w io.Writer) error {
		fmt.Fprintln(w, "SCHEDULED FOR\tREASON\tOUTCOME\tWHY\tJOB\tENQUEUED")
		for _, run := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", instant(&run.ScheduledFor), run.Reason, run.Outcome, cell(&run.Why), cell(run.JobID), instant(&run.CreatedAt))
		}
		return nil
	}
}

func (r *remote) runCommand() *cobra.Command {
	var respect bool
	command := &cobra.Command{
		Use: "run SCHEDULE", Short: "Run a schedule now, beside its own runs", Args: named,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				run, err := api.RunScheduleWithResponse(ctx, scheduleID(args[0]), &client.RunScheduleParams{IfMatch: client.AnyVersion, Namespace: given(r.namespace)}, client.RunNow{RespectOverlap: given(respect)})
				if err != nil {
					return err
				}
				return r.show(run.Body, runTable(*run.JSON202))
			})
		},
	}
	command.Flags().BoolVar(&respect, "respect-overlap", false, "not while the schedule's overlap policy would hold a run back")
	return command
}

func (r *remote) runsCommand() *cobra.Command {
	var limit int
	command := &cobra.Command{
		Use: "runs SCHEDULE", Short: "List what became of a schedule's runs, newest first", Args: named,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				return showList(r, "runs", limit, api.Runs(ctx, scheduleID(args[0]), client.ListRunsParams{Namespace: given(r.namespace)}), runTable)
			})
		},
	}
	command.Flags().IntVar(&limit, "limit", 20, "list no more than so many; 0: all")
	return command
}

func (r *remote) previewCommand() *cobra.Command {
	var d definition
	var count int64
	command := &cobra.Command{
		Use: "preview [SCHEDULE]", Short: "Show when a schedule, or one that isn't stored, would run",
		Example: "  riverbeat schedule preview --cron \"30 2 * * *\" --timezone Europe/Berlin --count 5",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			question := map[string]any{"count": count}
			switch spec := d.spec(); {
			case (len(args) == 1) == (len(spec) > 0):
				return &usageError{errors.New("give either a schedule, or one of --cron, --every and --at")}
			case len(args) == 1:
				question["schedule"] = scheduleID(args[0])
			default:
				question["spec"] = spec
			}
			if r.namespace != "" {
				question["namespace"] = r.namespace
			}
			body, err := json.Marshal(question)
			if err != nil {
				return fmt.Errorf("write the question: %w", err)
			}
			return r.do(cmd, func(ctx context.Context, api *client.API) error {
				preview, err := api.PreviewWithBodyWithResponse(ctx, jsonType, bytes.NewReader(body))
				if err != nil {
					return err
				}
				return r.show(preview.Body, func(w io.Writer) error {
					fmt.Fprintln(w, "AT\tLOCAL\tNOTE")
					for _, run := range preview.JSON200.Runs {
						fmt.Fprintf(w, "%s\t%s\t%s\n", instant(&run.At), run.Local, cell(&run.Note))
					}
					return nil
				})
			})
		},
	}
	d.specFlags(command)
	command.Flags().Int64Var(&count, "count", 10, "how many runs")
	return command
}
