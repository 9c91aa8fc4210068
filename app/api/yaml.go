package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v4"
)

// FromYAML makes JSON of YAML, of one document. What looks like a date stays the text
// that was written. The library bounds how deep it goes, and what aliases make of it.
func FromYAML(text []byte) ([]byte, error) {
	documents := yaml.NewDecoder(bytes.NewReader(text))
	var root, more yaml.Node
	if err := documents.Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := documents.Decode(&more); err == nil {
		return nil, errors.New("it must be one document")
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	keepDates(&root)
	var value any
	if err := root.Decode(&value); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("as JSON: %w", err)
	}
	return out.Bytes(), nil
}

// keepDates makes dates, which JSON hasn't, text.
func keepDates(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!timestamp" {
		node.Tag = "!!str"
	}
	for _, child := range node.Content {
		keepDates(child)
	}
}
