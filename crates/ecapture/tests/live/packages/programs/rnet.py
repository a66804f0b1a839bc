import asyncio, os, sys
import rnet


async def main():
    client = rnet.Client(verify=False)
    url = f"https://localhost:{sys.argv[1]}"
    await (await client.get(url + "/before")).text()
    print("open", flush=True)
    sys.stdin.readline()
    await (await client.get(url + "/secret-page")).text()


asyncio.run(main())
os._exit(0)  # else its threads crash now and then as Python ends
