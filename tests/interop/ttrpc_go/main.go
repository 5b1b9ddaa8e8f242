// Go's ttrpc at one end of a socket: ttrpc_go serve|call SOCKET.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"tests/interop/ttrpc_go/echo"
)

type service struct{}

func (service) Get(_ context.Context, request *echo.Event) (*echo.Event, error) {
	return request, nil
}

func failure(request *echo.Failure) error {
	proto := &spb.Status{Code: request.Code, Message: request.Message}
	if request.Detail != nil {
		detail, err := anypb.New(request.Detail)
		if err != nil {
			return err
		}
		proto.Details = append(proto.Details, detail)
	}
	return status.ErrorProto(proto)
}

func (service) Fail(_ context.Context, request *echo.Failure) (*echo.Event, error) {
	return nil, failure(request)
}

func (service) Hear(ctx context.Context, _ *echo.Event) (*echo.Heard, error) {
	heard := &echo.Heard{}
	if metadata, ok := ttrpc.GetMetadata(ctx); ok {
		if values, ok := metadata.Get("key"); ok {
			heard.Metadata = values[0]
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		heard.TimeoutNanos = time.Until(deadline).Nanoseconds()
	}
	return heard, nil
}

func (service) Sleep(ctx context.Context, _ *echo.Event) (*echo.Event, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (service) Grow(_ context.Context, request *echo.Event) (*echo.Event, error) {
	return &echo.Event{Data: make([]byte, request.Number)}, nil
}

func (service) Count(_ context.Context, request *echo.Event, out echo.TTRPCEcho_CountServer) error {
	for i := uint64(0); i < request.Number; i++ {
		if err := out.Send(&echo.Event{Number: i}); err != nil {
			return err
		}
	}
	return nil
}

func (service) FailStream(_ context.Context, request *echo.Failure, out echo.TTRPCEcho_FailStreamServer) error {
	if err := out.Send(&echo.Event{}); err != nil {
		return err
	}
	return failure(request)
}

func (service) Sum(_ context.Context, in echo.TTRPCEcho_SumServer) (*echo.Event, error) {
	sum := &echo.Event{}
	for {
		event, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return nil, err
		}
		sum.Number += event.Number
	}
}

func (service) Chat(_ context.Context, both echo.TTRPCEcho_ChatServer) error {
	for {
		event, err := both.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := both.Send(event); err != nil {
			return err
		}
	}
}

func serve(path string) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	echo.RegisterTTRPCEchoService(server, service{})
	return server.Serve(context.Background(), listener)
}

// Ends the program unless a claim holds.
func check(holds bool, claim string, got ...any) {
	if !holds {
		fmt.Println("not so:", claim, got)
		os.Exit(1)
	}
}

func unary(ctx context.Context, client echo.TTRPCEchoClient) {
	event := &echo.Event{Number: 7, Data: bytes.Repeat([]byte("x"), 1000)}
	reply, err := client.Get(ctx, event)
	check(err == nil && reply.Number == 7 && bytes.Equal(reply.Data, event.Data), "Get answers with what it was sent", err)
	heard, err := client.Hear(ttrpc.WithMetadata(ctx, ttrpc.MD{"key": []string{"value"}}), event)
	check(err == nil && heard.Metadata == "value", "metadata arrives", heard, err)
	check(heard.TimeoutNanos > 0, "the deadline arrives", heard)
	var group sync.WaitGroup
	for i := 0; i < 1000; i++ {
		group.Add(1)
		go func(number uint64) {
			defer group.Done()
			reply, err := client.Get(ctx, &echo.Event{Number: number})
			check(err == nil && reply.Number == number, "each of 1000 calls at once gets its own answer", err)
		}(uint64(i))
	}
	group.Wait()
}

func errorsToo(ctx context.Context, client echo.TTRPCEchoClient) {
	failure := &echo.Failure{Code: int32(codes.DataLoss), Message: "half of it", Detail: &echo.Event{Number: 5}}
	_, err := client.Fail(ctx, failure)
	got := status.Convert(err)
	check(got.Code() == codes.DataLoss && got.Message() == "half of it", "an error keeps its code and message", err)
	details := got.Details()
	check(len(details) == 1, "an error keeps its details", err)
	detail, ok := details[0].(*echo.Event)
	check(ok && detail.Number == 5, "details arrive as they were", details)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = client.Sleep(short, &echo.Event{})
	check(errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded, "a deadline passes", err)
	_, err = client.Get(ctx, &echo.Event{Data: make([]byte, 5<<20)})
	check(status.Code(err) == codes.ResourceExhausted, "a large request is refused", err)
	_, err = client.Grow(ctx, &echo.Event{Number: 5 << 20})
	check(status.Code(err) == codes.ResourceExhausted, "a large reply is refused", err)
	_, err = client.Get(ctx, &echo.Event{})
	check(err == nil, "the connection goes on", err)
}

func streams(ctx context.Context, client echo.TTRPCEchoClient) {
	count, err := client.Count(ctx, &echo.Event{Number: 5000})
	check(err == nil, "a server stream opens", err)
	for i := uint64(0); i < 5000; i++ {
		event, err := count.Recv()
		check(err == nil && event.Number == i, "a server stream comes in order", err)
	}
	_, err = count.Recv()
	check(errors.Is(err, io.EOF), "a server stream ends", err)

	failing, err := client.FailStream(ctx, &echo.Failure{Code: int32(codes.DataLoss), Message: "half of it"})
	check(err == nil, "a stream that will fail opens", err)
	_, err = failing.Recv()
	check(err == nil, "a message comes before the error", err)
	_, err = failing.Recv()
	check(status.Code(err) == codes.DataLoss, "a stream ends with its error", err)

	sum, err := client.Sum(ctx)
	check(err == nil, "a client stream opens", err)
	for i := uint64(1); i <= 1000; i++ {
		err = sum.Send(&echo.Event{Number: i})
		check(err == nil, "a client stream takes messages", err)
	}
	total, err := sum.CloseAndRecv()
	check(err == nil && total.Number == 500500, "a client stream is answered", total, err)

	chat, err := client.Chat(ctx)
	check(err == nil, "a bidirectional stream opens", err)
	for i := uint64(0); i < 100; i++ {
		err = chat.Send(&echo.Event{Number: i})
		check(err == nil, "a bidirectional stream takes messages", err)
		event, err := chat.Recv()
		check(err == nil && event.Number == i, "a bidirectional stream answers", err)
	}
	check(chat.CloseSend() == nil, "a bidirectional stream closes")
	_, err = chat.Recv()
	check(errors.Is(err, io.EOF), "a bidirectional stream ends", err)
}

func call(path string) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	echoes := echo.NewTTRPCEchoClient(client)
	unary(ctx, echoes)
	errorsToo(ctx, echoes)
	streams(ctx, echoes)
	fmt.Println("all calls were answered as they should")
	return nil
}

func main() {
	run := map[string]func(string) error{"serve": serve, "call": call}[os.Args[1]]
	if err := run(os.Args[2]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
