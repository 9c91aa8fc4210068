package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/riverbeat/riverbeat/app"
)

// contract is the API's document as a judge of answers.
type contract struct {
	root       node
	operations []*describedOperation

	mu       sync.Mutex // the compiler isn't made for several at once
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

// describedOperation is one of the document's operations.
type describedOperation struct {
	node
	method, path string
	pointer      string // where it is in the document
}

// GoString is what a property test shows of it.
func (o *describedOperation) GoString() string { return o.method + " " + o.path }

// theContract is read from the code, not from the file that is committed.
var theContract = sync.OnceValue(func() *contract {
	text, err := Document("1")
	if err != nil {
		panic(err)
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	c := &contract{root: node{root}, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	c.compiler.DefaultDraft(jsonschema.Draft2020)
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource("contract.json", root); err != nil {
		panic(err)
	}
	paths := c.root.at("paths")
	for _, path := range paths.names() {
		for _, method := range paths.at(path).names() {
			c.operations = append(c.operations, &describedOperation{
				node: paths.at(path).at(method), method: strings.ToUpper(method), path: path,
				pointer: "/paths/" + strings.ReplaceAll(path, "/", "~1") + "/" + method,
			})
		}
	}
	return c
})

// node is a part of the document.
type node struct{ value any }

func (n node) at(names ...string) node {
	for _, name := range names {
		members, _ := n.value.(map[string]any)
		n = node{members[name]}
	}
	return n
}

func (n node) exists() bool { return n.value != nil }

func (n node) text() string {
	text, _ := n.value.(string)
	return text
}

func (n node) number() (int64, bool) {
	number, ok := n.value.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := number.Int64()
	return i, err == nil
}

func (n node) names() []string {
	members, _ := n.value.(map[string]any)
	return slices.Sorted(maps.Keys(members))
}

func (n node) list() (list []node) {
	members, _ := n.value.([]any)
	for _, member := range members {
		list = append(list, node{member})
	}
	return list
}

func (n node) texts() (list []string) {
	for _, member := range n.list() {
		list = append(list, member.text())
	}
	return list
}

// is reports whether the schema allows the type.
func (n node) is(kind string) bool {
	return n.at("type").text() == kind || slices.Contains(n.at("type").texts(), kind)
}

// resolve follows a reference.
func (c *contract) resolve(n node) node {
	if ref, ok := strings.CutPrefix(n.at("$ref").text(), "#/"); ok {
		return c.root.at(strings.Split(ref, "/")...)
	}
	return n
}

// operation is the one that a request is about; nil: none.
func (c *contract) operation(method, path string) *describedOperation {
	path, _, _ = strings.Cut(path, "?")
	want := strings.Split(path, "/")
	for _, o := range c.operations {
		has := strings.Split(o.path, "/")
		if o.method == method && slices.EqualFunc(has, want, func(has, want string) bool { return has == want || strings.HasPrefix(has, "{") && want != "" }) {
			return o
		}
	}
	return nil
}

// check is nil when the document allows the answer to the request.
func (c *contract) check(method, path string, status int, header http.Header, text string) error {
	if status == statusClientGone || status == http.StatusNotFound && strings.Contains(text, "There is nothing here.") {
		return nil // nobody reads it, or this process doesn't have the role
	}
	contentType, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	if status >= 400 && contentType == "application/problem+json" {
		if err := c.validate("/components/schemas/Problem", text); err != nil {
			return fmt.Errorf("a problem that isn't one: %w", err)
		}
	}
	o := c.operation(method, path)
	if o == nil {
		return nil
	}
	code, pointer := strconv.Itoa(status), o.pointer+"/responses/"+strconv.Itoa(status)
	answer := o.at("responses", code)
	if !answer.exists() {
		return fmt.Errorf("a %d isn't among the answers of %s %s", status, o.method, o.path)
	}
	if ref := answer.at("$ref").text(); ref != "" {
		answer, pointer = c.resolve(answer), strings.TrimPrefix(ref, "#")
	}
	content := answer.at("content")
	if !content.exists() {
		if text != "" {
			return fmt.Errorf("a %d has a body, which the document doesn't know", status)
		}
		return nil
	}
	if !content.at(contentType).exists() {
		return fmt.Errorf("a %d is %q, which the document doesn't know", status, contentType)
	}
	if !strings.HasSuffix(contentType, "json") {
		return nil
	}
	return c.validate(pointer+"/content/"+strings.ReplaceAll(contentType, "/", "~1")+"/schema", text)
}

// validate holds JSON against the schema at the pointer.
func (c *contract) validate(pointer, text string) error {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return fmt.Errorf("no JSON: %w: %.200s", err, text)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.schemas[pointer]
	if !ok {
		if s, err = c.compiler.Compile("contract.json#" + (&url.URL{Path: pointer}).EscapedPath()); err != nil {
			return err
		}
		c.schemas[pointer] = s
	}
	if err := s.Validate(value); err != nil {
		return fmt.Errorf("%w in %.500s", err, text)
	}
	return nil
}

// path is the operation's, with the examples of its parameters.
func (o *describedOperation) example() string {
	path := o.path
	for _, p := range o.at("parameters").list() {
		if p.at("in").text() == "path" {
			path = strings.ReplaceAll(path, "{"+p.at("name").text()+"}", url.PathEscape(fmt.Sprint(p.at("example").value)))
		}
	}
	return path
}

// body is the schema of what is sent, its example, and its type.
func (c *contract) body(o *describedOperation) (schema, example node, contentType string) {
	content := o.at("requestBody", "content")
	for _, contentType := range content.names() {
		return c.resolve(content.at(contentType, "schema")), content.at(contentType, "example"), contentType
	}
	return node{}, node{}, ""
}

const calendarFile = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20261225\r\nSUMMARY:Christmas\r\nRRULE:FREQ=YEARLY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"

func TestTheDocumentThatIsServedIsTheOneThatIsCommitted(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, Config{Service: newService(t, nil, nil), Version: "1"})
	var served, committed bytes.Buffer
	if err := json.Indent(&served, []byte(f.do(t, "GET", "/openapi.json", "").text), "", "  "); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	committed.Write(text)
	if strings.TrimSpace(served.String()) != strings.TrimSpace(committed.String()) {
		t.Error("openapi.json is out of step: run `make generate`")
	}
}

// Everything that a reader or a generator of clients wants to know is there.
func TestEveryOperationIsDescribedInFull(t *testing.T) {
	t.Parallel()
	c := theContract()
	for _, o := range c.operations {
		name := o.method + " " + o.path
		if !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(o.at("operationId").text()) || o.at("summary").text() == "" || len(o.at("tags").list()) != 1 {
			t.Errorf("%s: %q, %q, %v", name, o.at("operationId").text(), o.at("summary").text(), o.at("tags").value)
		}
		for _, p := range o.at("parameters").list() {
			if p.at("in").text() == "path" && !p.at("example").exists() {
				t.Errorf("%s: the parameter %s has no example", name, p.at("name").text())
			}
		}
		if body, example, contentType := c.body(o); contentType == "application/json" && !example.exists() {
			t.Errorf("%s: the body has no example: %v", name, body.value)
		}
		for _, want := range []string{"421", "500"} {
			if !o.at("responses", want).exists() {
				t.Errorf("%s: no %s", name, want)
			}
		}
	}
}

// An example that its own schema refuses would mislead.
func TestTheExamplesOfTheDocumentAreValid(t *testing.T) {
	t.Parallel()
	c := theContract()
	seen := 0
	var walk func(pointer string, n node)
	walk = func(pointer string, n node) {
		if example := n.at("example"); example.exists() && n.at("schema").exists() {
			text, err := json.Marshal(example.value)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.validate(pointer+"/schema", string(text)); err != nil {
				t.Errorf("%s: %v", pointer, err)
			}
			seen++
		}
		for _, name := range n.names() {
			if name != "example" {
				walk(pointer+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), n.at(name))
			}
		}
		for i, child := range n.list() {
			walk(pointer+"/"+strconv.Itoa(i), child)
		}
	}
	walk("", c.root)
	if seen < 100 {
		t.Errorf("only %d examples", seen)
	}
}

// limit is a value that the document allows and one that it doesn't.
type limit struct {
	field         string
	what          string
	last, toomuch any
}

// limits are those of a schema, by the path of the field as errors name it.
func (c *contract) limits(field string, s node) (list []limit) {
	s = c.resolve(s)
	if !s.exists() || s.at("readOnly").value == true {
		return nil
	}
	add := func(what string, last, toomuch any) { list = append(list, limit{field, what, last, toomuch}) }
	if n, ok := s.at("maxLength").number(); ok && !s.at("pattern").exists() {
		add("maxLength", strings.Repeat("漢", int(n)), strings.Repeat("漢", int(n)+1))
	} else if ok {
		add("maxLength", nil, strings.Repeat("a", int(n)+1))
	}
	if n, ok := s.at("minLength").number(); ok && n == 1 {
		add("minLength", nil, "")
	}
	if pattern := s.at("pattern").text(); pattern != "" {
		add("pattern", nil, "Not this!")
	}
	if n, ok := s.at("minimum").number(); ok {
		add("minimum", n, n-1)
	}
	if n, ok := s.at("maximum").number(); ok {
		add("maximum", n, n+1)
	}
	if values := s.at("enum").list(); len(values) > 0 {
		add("enum", values[len(values)-1].value, "something else")
	}
	if s.at("format").text() == "date-time" || s.at("format").text() == "date" {
		add("format", nil, "yesterday")
	}
	if n, ok := s.at("maxItems").number(); ok {
		some := func(n int64) (items []any) {
			for i := range n {
				items = append(items, c.item(s.at("items"), int(i)))
			}
			return items
		}
		add("maxItems", some(n), some(n+1))
	}
	if n, ok := s.at("maxProperties").number(); ok {
		some := func(n int64) map[string]any {
			members := map[string]any{}
			for i := range n {
				members["key"+strconv.Itoa(int(i))] = "value"
			}
			return members
		}
		add("maxProperties", some(n), some(n+1))
	}
	for _, l := range c.limits("", s.at("items")) {
		if l.toomuch == nil || l.field != "" {
			continue // what lies within the items has no place of its own
		}
		at := limit{field: field + ".0", what: "items." + l.what, toomuch: []any{l.toomuch}}
		if l.last != nil {
			at.last = []any{l.last}
		}
		list = append(list, at)
	}
	for _, name := range s.at("properties").names() {
		list = append(list, c.limits(strings.TrimPrefix(field+"."+name, "."), s.at("properties", name))...)
	}
	return list
}

// item is an example of the i-th item of a list.
func (c *contract) item(s node, i int) any {
	s = c.resolve(s)
	if s.at("properties").exists() {
		members := map[string]any{}
		for _, name := range s.at("required").texts() {
			members[name] = c.item(s.at("properties", name), i)
		}
		return members
	}
	if examples := s.at("examples").list(); len(examples) > 0 && s.at("format").exists() {
		return examples[0].value
	}
	if values := s.at("enum").list(); len(values) > 0 {
		return values[i%len(values)].value
	}
	return "item" + strconv.Itoa(i)
}

// with is a copy of the document with the field set.
func with(document any, field string, value any) any {
	if field == "" {
		return value
	}
	name, rest, _ := strings.Cut(field, ".")
	if name == "0" {
		return value // a list as a whole
	}
	members, _ := document.(map[string]any)
	members = maps.Clone(members)
	if members == nil {
		members = map[string]any{}
	}
	members[name] = with(members[name], rest, value)
	return members
}

// reasons are what the answer says of the field.
func (a *reply) reasons(t *testing.T, field string) (list []string) {
	t.Helper()
	var p problem
	if json.Unmarshal([]byte(a.text), &p) == nil {
		for _, e := range p.Errors {
			if e.Field == field || strings.HasPrefix(e.Field, field+".") {
				list = append(list, e.Reason)
			}
		}
	}
	return list
}

// Every limit of the document is tried, at its edge and one beyond it: what the
// document promises is what the server does.
func TestTheLimitsOfTheDocumentAreTheServers(t *testing.T) {
	t.Parallel()
	f, c := setup(t), theContract()
	f.server.Config.Handler = entitled(t, f.pool, f.server.Config.Handler, app.Token{}) // it makes tokens
	send := func(o *describedOperation, path string, document any, contentType string) *reply {
		text, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		if contentType == "text/calendar" {
			return f.do(t, o.method, path, calendarFile, "Content-Type", contentType)
		}
		if document == nil {
			return f.do(t, o.method, path, "")
		}
		return f.do(t, o.method, path, string(text), "Content-Type", contentType)
	}
	// There must be something to edit: what the examples make.
	for _, o := range c.operations {
		if _, example, contentType := c.body(o); o.method == "POST" && !strings.Contains(o.path, "{") && example.exists() {
			send(o, o.path, example.value, contentType)
		}
	}
	tried := 0
	judge := func(o *describedOperation, l limit, last func(any) *reply) {
		t.Helper()
		tried++
		name := fmt.Sprintf("%s %s: %s of %s", o.method, o.path, l.what, l.field)
		beyond := last(l.toomuch)
		reasons := beyond.reasons(t, l.field)
		switch {
		case beyond.status == http.StatusNotFound: // what is looked for isn't there
		case beyond.status != http.StatusUnprocessableEntity || len(reasons) == 0:
			t.Errorf("%s: beyond it, %v is a %d: %.300s", name, short(fmt.Sprint(l.toomuch)), beyond.status, beyond.text)
		case l.last != nil:
			// Refused it may be, but for another reason: that it is no cron, say.
			at := last(l.last)
			for _, reason := range at.reasons(t, l.field) {
				if slices.Contains(reasons, reason) {
					t.Errorf("%s: at it, %v is a %d: %.300s", name, short(fmt.Sprint(l.last)), at.status, at.text)
				}
			}
		}
	}
	for _, o := range c.operations {
		schema, example, contentType := c.body(o)
		for _, p := range o.at("parameters").list() {
			if p.at("in").text() != "query" {
				continue
			}
			name := p.at("name").text()
			for _, l := range c.limits(name, p.at("schema")) {
				l.field = strings.TrimSuffix(l.field, ".0")
				judge(o, l, func(value any) *reply {
					query := url.Values{}
					values, isList := value.([]any)
					if !isList {
						values = []any{value}
					}
					for i, v := range values {
						if name == "label" {
							v = fmt.Sprintf("key%d:%v", i, v)
						}
						query.Add(name, fmt.Sprint(v))
					}
					return send(o, o.example()+"?"+query.Encode(), example.value, contentType)
				})
			}
		}
		if contentType != "application/json" {
			continue
		}
		for _, l := range c.limits("", schema) {
			judge(o, l, func(value any) *reply { return send(o, o.example(), with(example.value, l.field, value), contentType) })
		}
		for _, field := range schema.at("required").texts() {
			members := maps.Clone(example.value.(map[string]any))
			delete(members, field)
			judge(o, limit{field: field, what: "absence"}, func(any) *reply { return send(o, o.example(), members, contentType) })
		}
		if schema.at("additionalProperties").value == false {
			judge(o, limit{field: "no_such_field", what: "existence"}, func(any) *reply {
				return send(o, o.example(), with(example.value, "no_such_field", 1), contentType)
			})
		}
	}
	if tried < 100 {
		t.Errorf("only %d limits were tried", tried)
	}
	t.Logf("%d limits were tried", tried)
}
