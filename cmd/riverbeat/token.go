package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

func (p *program) tokenCommand() *cobra.Command {
	token := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke API tokens, in the database itself",
		Long: "An API token lets somebody in who sends it as Authorization: Bearer rb_…\n" +
			"As soon as there is one, everybody needs one. To change one for another without a\n" +
			"gap: make the new one, put it in place, see in the list that the old one isn't\n" +
			"used any more, and revoke that.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	token.AddCommand(p.tokenCreateCommand(), &cobra.Command{
		Use: "list", Short: "List the tokens, those that are expired or revoked too", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.withTokens(cmd.Context(), p.tokenList) },
	}, &cobra.Command{
		Use: "revoke ID", Short: "Revoke a token: every process refuses it within 2 seconds",
		Args: named,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := uuid.Parse(args[0])
			if err != nil { // what was given may be the token itself, which isn't to be repeated
				return &usageError{errors.New("revoke takes the id of a token, which `riverbeat token list` shows")}
			}
			return p.withTokens(cmd.Context(), func(ctx context.Context, s *app.Service) error {
				err := s.RevokeToken(ctx, schedule.ID(id))
				if err == nil {
					fmt.Fprintln(p.stderr, "revoked: every process refuses it within", app.RevokedWithin)
				}
				return err
			})
		},
	})
	return token
}

func (p *program) tokenCreateCommand() *cobra.Command {
	var t app.Token
	var expiresIn string
	create := &cobra.Command{
		Use:   "create --name NAME --scopes read,write,admin",
		Short: "Make a token and print it, this once, on the standard output",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if expiresIn != "" {
				in, err := schedule.ParseDuration(expiresIn)
				if err != nil || in <= 0 {
					return &usageError{errors.New(`--expires-in must be a duration such as "12h" or "90d"`)}
				}
				t.ExpiresAt = time.Now().Add(in).Truncate(time.Second)
			}
			return p.withTokens(cmd.Context(), func(ctx context.Context, s *app.Service) error {
				created, secret, err := s.CreateToken(ctx, t)
				var invalid *schedule.InvalidError
				if errors.As(err, &invalid) {
					return &usageError{err}
				}
				if err != nil {
					return err
				}
				fmt.Fprintf(p.stderr, "made the token %s; it is shown this once:\n", created.ID)
				fmt.Fprintln(p.stdout, secret)
				return nil
			})
		},
	}
	f := create.Flags()
	f.StringVar(&t.Name, "name", "", "what people call it")
	f.StringSliceVar(&t.Scopes, "scopes", nil, "what it may do: read, write, admin; each is its own, so write doesn't hold read")
	f.StringSliceVar(&t.Namespaces, "namespaces", nil, "outside of these there is nothing for it (default: all)")
	f.StringSliceVar(&t.Kinds, "kinds", nil, "of the jobs of schedules that it writes, runs and resumes (default: any)")
	f.StringSliceVar(&t.Queues, "queues", nil, "of the same (default: any)")
	f.StringVar(&expiresIn, "expires-in", "", "after how long it expires, such as 90d (default: never)")
	return create
}

func (p *program) tokenList(ctx context.Context, s *app.Service) error {
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTOKEN\tNAME\tSTATE\tSCOPES\tNAMESPACES\tKINDS\tQUEUES\tEXPIRES\tLAST USED\tCREATED")
	var after schedule.ID
	for {
		page, more, err := s.Tokens(ctx, after, 1000)
		if err != nil {
			return err
		}
		for _, t := range page {
			after = t.ID
			state := "valid"
			if !t.RevokedAt.IsZero() {
				state = "revoked"
			} else if t.Expired {
				state = "expired"
			}
			fmt.Fprintf(table, "%s\t%s…\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Hint, t.Name, state, strings.Join(t.Scopes, ","),
				listed(t.Namespaces, "all"), listed(t.Kinds, "any"), listed(t.Queues, "any"),
				moment(t.ExpiresAt), moment(t.LastUsedAt), moment(t.CreatedAt))
		}
		if !more {
			return table.Flush()
		}
	}
}

func listed(entries []string, none string) string {
	if entries == nil {
		return none
	}
	return strings.Join(entries, ",")
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// withTokens opens the database for who runs the program, who may do everything.
func (p *program) withTokens(ctx context.Context, do func(context.Context, *app.Service) error) error {
	if p.config.DatabaseURL == "" {
		return errNoDatabase
	}
	pool, err := db.OpenPool(ctx, p.config.DatabaseURL, "riverbeat-token", 1)
	if err != nil {
		return &configError{fmt.Errorf("%s: %w", variable("database-url"), err)}
	}
	defer pool.Close()
	if err := p.migrateWith(ctx, pool, func(ctx context.Context, m *db.Migrator) error { return m.Check(ctx) }); err != nil {
		return err
	}
	return do(app.WithCaller(ctx, app.Operator("cli")), app.NewService(db.NewStore(pool), nil, app.Config{}))
}
