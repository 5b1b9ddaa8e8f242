package main

import (
	"context"
	"net"

	"github.com/containerd/ttrpc"

	"tests/bench/wire/go_peers/echo"
)

type ttrpcEcho struct{}

func (ttrpcEcho) Get(_ context.Context, request *echo.Item) (*echo.Item, error) {
	return request, nil
}

func serveTtrpc(path string) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	echo.RegisterTTRPCEchoService(server, ttrpcEcho{})
	return server.Serve(context.Background(), listener)
}

func dialTtrpc(path string) (caller, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	client := echo.NewTTRPCEchoClient(ttrpc.NewClient(conn))
	return func(c cell) (figures, error) {
		request := &echo.Item{Number: 42, Data: make([]byte, c.Payload)}
		return closedLoop(c, func() error {
			_, err := client.Get(context.Background(), request)
			return err
		})
	}, nil
}
