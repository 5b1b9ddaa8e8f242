package main

import (
	"context"

	"tests/bench/wire/go_peers/echo"
)

// Serves both grpc-go and ttrpc-go.
type echoServer struct{ echo.UnimplementedEchoServer }

func (echoServer) Get(_ context.Context, request *echo.Item) (*echo.Item, error) {
	return request, nil
}

// Calls by `get`.
func echoCaller(get func(context.Context, *echo.Item) (*echo.Item, error)) caller {
	return func(c cell) (figures, error) {
		request := &echo.Item{Number: 42, Data: make([]byte, c.Payload)}
		return closedLoop(c, func() error {
			_, err := get(context.Background(), request)
			return err
		})
	}
}
