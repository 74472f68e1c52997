// The official Go SDK's client, unmodified, one line of JSON per step. How to call it and what it prints: ../README.md
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const usage = "usage: client STEPS (stdio COMMAND [ARG…] | http URL | config FILE SERVER)"

type object = map[string]any

func say(line object) {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(line); err != nil {
		panic(err)
	}
}

// authorized sends these headers with every request, and remembers which of them HTTP refused.
type authorized struct {
	headers map[string]string
	refused int
}

func (a *authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	for name, value := range a.headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		a.refused = response.StatusCode
	}
	return response, err
}

var web = &authorized{headers: map[string]string{}}

func overHTTP(url string, headers map[string]string) mcp.Transport {
	if token := os.Getenv("PORTREEVE_TOKEN"); token != "" {
		web.headers["Authorization"] = "Bearer " + token
	}
	for name, value := range headers {
		web.headers[name] = value
	}
	return &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: &http.Client{Transport: web}}
}

// This SDK starts what it is given: it hands over all variables, unless told otherwise.
func overStdio(program string, arguments []string, env map[string]string) mcp.Transport {
	command := exec.Command(program, arguments...)
	command.Stderr = os.Stderr
	command.Env = os.Environ()
	if os.Getenv("PORTREEVE_CLIENT_ENV") == "sdk" {
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	}
	for name, value := range env {
		command.Env = append(command.Env, name+"="+value)
	}
	return &mcp.CommandTransport{Command: command}
}

func transport(way []string) (mcp.Transport, error) {
	switch {
	case len(way) > 1 && way[0] == "stdio":
		return overStdio(way[1], way[2:], nil), nil
	case len(way) == 2 && way[0] == "http":
		return overHTTP(way[1], nil), nil
	case len(way) == 3 && way[0] == "config":
		text, err := os.ReadFile(way[1])
		if err != nil {
			return nil, err
		}
		var config struct {
			Servers map[string]struct {
				Command string            `json:"command"`
				Args    []string          `json:"args"`
				Env     map[string]string `json:"env"`
				URL     string            `json:"url"`
				Headers map[string]string `json:"headers"`
			} `json:"mcpServers"`
		}
		if err := json.Unmarshal(text, &config); err != nil {
			return nil, err
		}
		server, there := config.Servers[way[2]]
		if !there {
			return nil, fmt.Errorf("%s has no server %s", way[1], way[2])
		}
		if server.Command != "" {
			return overStdio(server.Command, server.Args, server.Env), nil
		}
		return overHTTP(server.URL, server.Headers), nil
	}
	return nil, errors.New(usage)
}

func failure(err error) object {
	var answer *jsonrpc.Error
	if errors.As(err, &answer) {
		return object{"code": answer.Code, "message": answer.Message, "data": answer.Data}
	}
	if web.refused != 0 {
		return object{"status": web.refused, "message": err.Error()}
	}
	return object{"message": err.Error()}
}

// told is what came on the way of a call. The SDK hands it out beside the call's result, so that it may be late.
type told struct {
	sync.Mutex
	progress []float64
	logs     []any
	more     chan struct{}
}

func (t *told) add(note func()) {
	t.Lock()
	note()
	t.Unlock()
	select {
	case t.more <- struct{}{}:
	default:
	}
}

// wait returns when so much has come, or when nothing more seems to come.
func (t *told) wait(progress, logs int) {
	late := time.After(10 * time.Second)
	for {
		t.Lock()
		enough := len(t.progress) >= progress && len(t.logs) >= logs
		t.Unlock()
		if enough {
			return
		}
		select {
		case <-t.more:
		case <-late:
			return
		}
	}
}

// What a server asks is answered like this, always.
func person(heard *told) *mcp.Client {
	client := mcp.NewClient(&mcp.Implementation{Name: "portreeve-test-go", Version: "1.0.0"}, &mcp.ClientOptions{
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			return &mcp.CreateMessageResult{Role: "assistant", Content: &mcp.TextContent{Text: "Paris"}, Model: "test"}, nil
		},
		ElicitationHandler: func(_ context.Context, request *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			schema, _ := request.Params.RequestedSchema.(object)
			properties, _ := schema["properties"].(object)
			content := object{}
			for name, about := range properties {
				content[name] = filled(name, about)
			}
			return &mcp.ElicitResult{Action: "accept", Content: content}, nil
		},
		LoggingMessageHandler: func(_ context.Context, request *mcp.LoggingMessageRequest) {
			heard.add(func() { heard.logs = append(heard.logs, request.Params.Data) })
		},
		ProgressNotificationHandler: func(_ context.Context, request *mcp.ProgressNotificationClientRequest) {
			heard.add(func() { heard.progress = append(heard.progress, request.Params.Progress) })
		},
	})
	client.AddRoots(&mcp.Root{URI: "file:///work"})
	return client
}

func filled(name string, about any) any {
	schema, _ := about.(object)
	if values, _ := schema["enum"].([]any); len(values) > 0 {
		return values[0]
	}
	if schema["type"] == "boolean" {
		return true
	}
	return "some " + name
}

// all collects one member of everything in a list, whose pages the SDK turns.
func all[T any](pages iter.Seq2[T, error], member func(T) string) ([]string, error) {
	found := []string{}
	for one, err := range pages {
		if err != nil {
			return nil, err
		}
		found = append(found, member(one))
	}
	return found, nil
}

type step struct {
	Name      string `json:"name"`
	Arguments object `json:"arguments"`
	// How much is to come, as far as a test knows it
	Progress int    `json:"progress"`
	Logs     int    `json:"logs"`
	Cancel   bool   `json:"cancel"`
	Pause    string `json:"pause"`
	List     bool   `json:"list"`

	Resources bool   `json:"resources"`
	Read      string `json:"read"`
	Prompts   bool   `json:"prompts"`
	Prompt    string `json:"prompt"`
	Complete  string `json:"complete"`
	Of        string `json:"of"`
	Argument  string `json:"argument"`
	Level     string `json:"level"`
}

type run struct {
	session *mcp.ClientSession
	heard   *told
	lines   *bufio.Reader
	// Part of every request, in the newest version
	level string
}

func (r *run) modern() bool { return r.session.InitializeResult().ProtocolVersion >= "2026" }

func (r *run) tools(ctx context.Context) (object, error) {
	names, err := all(r.session.Tools(ctx, nil), func(tool *mcp.Tool) string { return tool.Name })
	return object{"tools": names}, err
}

func (r *run) goOn() { _, _ = r.lines.ReadString('\n') }

func (r *run) step(ctx context.Context, step step) (object, error) {
	switch {
	case step.Pause != "":
		say(object{"pause": step.Pause})
		r.goOn()
		return nil, nil
	case step.List:
		return r.tools(ctx)
	case step.Resources:
		uris, err := all(r.session.Resources(ctx, nil), func(one *mcp.Resource) string { return one.URI })
		if err != nil {
			return object{"resources": true}, err
		}
		templates, err := all(r.session.ResourceTemplates(ctx, nil), func(one *mcp.ResourceTemplate) string {
			return one.URITemplate
		})
		return object{"resources": uris, "templates": templates}, err
	case step.Read != "":
		line := object{"read": step.Read}
		result, err := r.session.ReadResource(ctx, &mcp.ReadResourceParams{URI: step.Read})
		if err == nil && len(result.Contents) > 0 {
			line["text"], line["blob"] = result.Contents[0].Text, result.Contents[0].Blob
		}
		return line, err
	case step.Prompts:
		names, err := all(r.session.Prompts(ctx, nil), func(one *mcp.Prompt) string { return one.Name })
		return object{"prompts": names}, err
	case step.Prompt != "":
		line := object{"prompt": step.Prompt}
		given := map[string]string{}
		for name, value := range step.Arguments {
			given[name] = fmt.Sprint(value)
		}
		result, err := r.session.GetPrompt(ctx, &mcp.GetPromptParams{Name: step.Prompt, Arguments: given})
		if err == nil && len(result.Messages) > 0 {
			line["text"] = text(result.Messages[0].Content)
		}
		return line, err
	case step.Complete != "":
		line := object{"complete": step.Complete}
		result, err := r.session.Complete(ctx, &mcp.CompleteParams{
			Ref:      &mcp.CompleteReference{Type: "ref/prompt", Name: step.Of},
			Argument: mcp.CompleteParamsArgument{Name: step.Argument, Value: step.Complete},
		})
		if err == nil {
			line["values"] = result.Completion.Values
		}
		return line, err
	case step.Level != "":
		line := object{"level": step.Level}
		if r.modern() {
			r.level = step.Level
			return line, nil
		}
		return line, r.session.SetLoggingLevel(ctx, &mcp.SetLoggingLevelParams{Level: mcp.LoggingLevel(step.Level)})
	}
	return r.call(ctx, step)
}

func (r *run) call(ctx context.Context, step step) (object, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	line := object{"call": step.Name}
	r.heard.Lock()
	r.heard.progress, r.heard.logs = nil, nil
	r.heard.Unlock()
	params := &mcp.CallToolParams{Name: step.Name, Arguments: step.Arguments, Meta: mcp.Meta{}}
	if r.level != "" {
		params.Meta[mcp.MetaKeyLogLevel] = r.level
	}
	if step.Progress > 0 {
		params.SetProgressToken("progress of " + step.Name)
	}
	if step.Cancel {
		say(object{"started": step.Name})
		go func() {
			r.goOn()
			cancel()
		}()
	}
	result, err := r.session.CallTool(ctx, params)
	if err != nil {
		return line, err
	}
	line["isError"], line["structured"], line["meta"] = result.IsError, result.StructuredContent, result.Meta
	line["text"] = nil
	for _, block := range result.Content {
		if found := text(block); found != nil {
			line["text"] = found
			break
		}
	}
	r.heard.wait(step.Progress, step.Logs)
	r.heard.Lock()
	defer r.heard.Unlock()
	if len(r.heard.progress) > 0 {
		line["progress"] = r.heard.progress
	}
	if len(r.heard.logs) > 0 {
		line["logs"] = r.heard.logs
	}
	return line, nil
}

func text(content mcp.Content) any {
	if block, is := content.(*mcp.TextContent); is {
		return block.Text
	}
	return nil
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(1)
	}
	stage, err := steps(os.Args[1], os.Args[2:])
	if err != nil {
		say(object{"failed": stage, "error": failure(err)})
		os.Exit(1)
	}
	say(object{"closed": true})
}

func steps(given string, way []string) (string, error) {
	ctx := context.Background()
	var all []step
	if err := json.Unmarshal([]byte(given), &all); err != nil {
		return "steps", err
	}
	reached, err := transport(way)
	if err != nil {
		return "connect", err
	}
	heard := &told{more: make(chan struct{}, 1)}
	options := &mcp.ClientSessionOptions{}
	if mode := os.Getenv("PORTREEVE_CLIENT_MODE"); mode == "legacy" {
		options.ProtocolVersion = "2025-11-25"
	} else if mode != "" && mode != "auto" {
		options.ProtocolVersion = mode
	}
	session, err := person(heard).Connect(ctx, reached, options)
	if err != nil {
		return "connect", err
	}
	now := &run{session: session, heard: heard, lines: bufio.NewReader(os.Stdin)}
	agreed := session.InitializeResult()
	say(object{"connected": object{"protocol": agreed.ProtocolVersion, "server": agreed.ServerInfo}})
	tools, err := now.tools(ctx)
	if err != nil {
		return "list", err
	}
	say(tools)
	for _, step := range all {
		line, err := now.step(ctx, step)
		if err != nil {
			line["error"] = failure(err)
		}
		if line != nil {
			say(line)
		}
	}
	if !now.modern() {
		if err := session.Ping(ctx, nil); err != nil {
			return "ping", err
		}
		say(object{"ping": true})
	}
	if err := session.Close(); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "closed") {
		return "close", err
	}
	return "", nil
}
