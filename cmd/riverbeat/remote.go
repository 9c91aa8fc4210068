package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/riverbeat/riverbeat/app/api"
	"github.com/riverbeat/riverbeat/app/api/client"
)

// remote is what the commands share that talk to a riverbeat over HTTP.
type remote struct {
	*program
	namespace string
	output    string
}

// flags are those of each of these commands.
func (r *remote) flags(command *cobra.Command) {
	command.PersistentFlags().StringVarP(&r.namespace, "namespace", "n", "", "namespace (default: all of them for list, otherwise the token's only one, or default)")
	command.PersistentFlags().StringVarP(&r.output, "output", "o", "table", "table, json or yaml")
}

// do calls with the API that url and token name.
func (r *remote) do(cmd *cobra.Command, call func(ctx context.Context, api *client.API) error) error {
	if r.output != "table" && r.output != "json" && r.output != "yaml" {
		return &usageError{errors.New("--output must be table, json or yaml")}
	}
	api, err := client.New(r.config.URL, r.config.Token)
	if err != nil {
		return &configError{fmt.Errorf("%s: %w", variable("url"), err)}
	}
	return call(cmd.Context(), api)
}

// exitCodeOf is the exit code of what a server answered, or of there being none.
func exitCodeOf(err error) (code int, known bool) {
	var refused *client.Error
	if errors.As(err, &refused) {
		switch refused.Status {
		case http.StatusNotFound:
			return exitNotFound, true
		case http.StatusConflict, http.StatusPreconditionFailed:
			return exitConflict, true
		case http.StatusUnauthorized, http.StatusForbidden:
			return exitForbidden, true
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			return exitUnavailable, true
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
			return exitBadInput, true
		}
		return 1, true
	}
	var unreachable *url.Error
	if errors.As(err, &unreachable) && !errors.Is(err, context.Canceled) {
		return exitUnavailable, true
	}
	var input *inputError
	if errors.As(err, &input) {
		return exitBadInput, true
	}
	return 0, false
}

// inputError is a document that can't be read.
type inputError struct{ error }

// given is nil for what wasn't said.
func given[T comparable](value T) *T {
	var none T
	if value == none {
		return nil
	}
	return &value
}

// scheduleID is how the API names the schedule that somebody names: by its id, or
// by its name.
func scheduleID(text string) string {
	if _, err := uuid.Parse(text); err == nil && len(text) == 36 || strings.HasPrefix(text, "name:") {
		return text
	}
	return "name:" + text
}

// readDocument reads a file, or - for the standard input, and makes JSON of YAML,
// which JSON is too.
func readDocument(name string, stdin io.Reader) ([]byte, error) {
	text, err := readFile(name, stdin)
	if err != nil {
		return nil, err
	}
	if json.Valid(text) {
		return text, nil
	}
	document, err := api.FromYAML(text)
	if err != nil {
		return nil, &inputError{fmt.Errorf("read %s: %w", name, err)}
	}
	return document, nil
}

func readFile(name string, stdin io.Reader) (text []byte, err error) {
	if name == "-" {
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, &inputError{fmt.Errorf("read %s: %w", name, err)}
	}
	return text, nil
}

// show writes what was answered: as it is, or as a table of the columns.
func (r *remote) show(answer []byte, table func(io.Writer) error) error {
	switch r.output {
	case "json":
		var out bytes.Buffer
		if err := json.Indent(&out, bytes.TrimSpace(answer), "", "  "); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		out.WriteByte('\n')
		_, err := out.WriteTo(r.stdout)
		return err
	case "yaml":
		var root yaml.Node // JSON is YAML: in this form it keeps its order
		if err := yaml.Unmarshal(answer, &root); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		plain(&root)
		text, err := yaml.Marshal(&root)
		if err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		_, err = r.stdout.Write(text)
		return err
	}
	w := tabwriter.NewWriter(r.stdout, 0, 0, 2, ' ', 0)
	if err := table(w); err != nil {
		return err
	}
	return w.Flush()
}

// plain has YAML written as people write it, instead of as JSON.
func plain(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		plain(child)
	}
}

// cell is a value as a table shows it; - is none.
func cell[T any](value *T) string {
	if value == nil {
		return "-"
	}
	text := strings.ReplaceAll(fmt.Sprint(*value), "\n", " ")
	if text == "" {
		return "-"
	}
	return text
}
