// How Go reads messages: a line of hexadecimal digits each, answered by a line of JSON each.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"os"
)

// The names of members are compared without their case by encoding/json.
type message struct {
	Method any `json:"method"`
	Params *struct {
		Name      any `json:"name"`
		URI       any `json:"uri"`
		Arguments any `json:"arguments"`
	} `json:"params"`
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		out.WriteString(read(line[:len(line)-1]))
		out.WriteByte('\n')
	}
}

func read(line []byte) string {
	text := make([]byte, hex.DecodedLen(len(line)))
	if _, err := hex.Decode(text, line); err != nil {
		return `{"ok":false}`
	}
	var read message
	if err := json.Unmarshal(text, &read); err != nil {
		return `{"ok":false}`
	}
	told := map[string]any{"ok": true, "method": read.Method}
	if read.Params != nil {
		told["name"], told["uri"], told["arguments"] = read.Params.Name, read.Params.URI, read.Params.Arguments
	}
	text, err := json.Marshal(told)
	if err != nil {
		return `{"ok":false}`
	}
	return string(text)
}
