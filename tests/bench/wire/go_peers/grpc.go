package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"tests/bench/wire/go_peers/echo"
)

func serveGrpc(path string) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	echo.RegisterEchoServer(server, echoServer{})
	return server.Serve(listener)
}

func dialGrpc(path string) (caller, error) {
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	client := echo.NewEchoClient(conn)
	return echoCaller(func(ctx context.Context, request *echo.Item) (*echo.Item, error) {
		return client.Get(ctx, request)
	}), nil
}
