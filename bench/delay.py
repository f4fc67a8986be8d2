"""Forward connections to a port with a delay: ``python -m bench.delay PORT SECONDS`` prints the port on which it listens."""

import asyncio
import sys

_PIECE = 256 * 1024
_ON_THE_WAY = 64 * 1024 * 1024
"""Maximum number of bytes that wait for their delay; it exceeds every TCP window, so that it never limits the speed."""


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Forward each piece of data in order, `seconds` after it arrived; after the last piece, close `writer`."""
    loop = asyncio.get_running_loop()
    way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_ON_THE_WAY // _PIECE)

    async def arrive() -> None:
        while True:
            due, piece = await way.get()
            await asyncio.sleep(due - loop.time())
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
        writer.close()

    arriving = asyncio.create_task(arrive())
    try:
        while piece := await reader.read(_PIECE):
            await way.put((loop.time() + seconds, piece))
    except ConnectionError:
        pass
    await way.put((loop.time() + seconds, b""))
    await asyncio.gather(arriving, return_exceptions=True)


async def _serve(port: int, seconds: float) -> None:
    async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_carry(reader, there_writer, seconds), _carry(there_reader, writer, seconds))

    server = await asyncio.start_server(through, "127.0.0.1", 0, limit=_PIECE)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
