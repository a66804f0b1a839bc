import io, sys
import pycurl

curl = pycurl.Curl()
curl.setopt(pycurl.SSL_VERIFYPEER, 0)


def get(path):
    curl.setopt(pycurl.URL, f"https://localhost:{sys.argv[1]}{path}")
    curl.setopt(pycurl.WRITEDATA, io.BytesIO())
    curl.perform()


get("/before")
print("open", flush=True)
sys.stdin.readline()
get("/secret-page")
