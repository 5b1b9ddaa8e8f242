// Go's ways to call: serve KIND SOCKET, or call KIND SOCKET CONTROL.
//
// A caller takes cells from the control socket, one a line, and answers each
// with what it measured (../cell.h).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
)

// A server that runs until it is killed, and a client of it.
type subject struct {
	serve func(path string) error
	dial  func(path string) (caller, error)
}

// Runs a cell.
type caller func(cell) (figures, error)

var subjects = map[string]subject{
	"ttrpc-go": {serveTtrpc, dialTtrpc},
	"grpc-go":  {serveGrpc, dialGrpc},
	"abci-go":  {serveAbci, dialAbci},
}

func answer(run caller, line []byte) any {
	var asked cell
	if err := json.Unmarshal(line, &asked); err != nil {
		return map[string]string{"error": err.Error()}
	}
	if asked.Kind != "calls" {
		return map[string]bool{"unsupported": true}
	}
	measured, err := run(asked)
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return measured
}

func call(kind subject, path, control string) error {
	run, err := kind.dial(path)
	if err != nil {
		return err
	}
	driver, err := net.Dial("unix", control)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(driver)
	out := json.NewEncoder(driver)
	for lines.Scan() {
		if err := out.Encode(answer(run, lines.Bytes())); err != nil {
			return err
		}
	}
	return lines.Err()
}

func run(arguments []string) error {
	if len(arguments) >= 3 {
		kind, ok := subjects[arguments[1]]
		switch {
		case ok && arguments[0] == "serve":
			return kind.serve(arguments[2])
		case ok && arguments[0] == "call" && len(arguments) == 4:
			return call(kind, arguments[2], arguments[3])
		}
	}
	return fmt.Errorf("usage: serve KIND SOCKET | call KIND SOCKET CONTROL")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
