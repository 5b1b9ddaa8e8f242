package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"tests/bench/wire/go_peers/echo"
)

type grpcEcho struct{ echo.UnimplementedEchoServer }

func (grpcEcho) Get(_ context.Context, request *echo.Item) (*echo.Item, error) {
	return request, nil
}

func serveGrpc(path string) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	echo.RegisterEchoServer(server, grpcEcho{})
	return server.Serve(listener)
}

func dialGrpc(path string) (caller, error) {
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	client := echo.NewEchoClient(conn)
	return func(c cell) (figures, error) {
		request := &echo.Item{Number: 42, Data: make([]byte, c.Payload)}
		return closedLoop(c, func() error {
			_, err := client.Get(context.Background(), request)
			return err
		})
	}, nil
}
