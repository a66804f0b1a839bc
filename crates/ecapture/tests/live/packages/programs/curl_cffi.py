import sys
from curl_cffi import requests

session = requests.Session(verify=False, impersonate="chrome110")
url = f"https://localhost:{sys.argv[1]}"
session.get(url + "/before")
print("open", flush=True)
sys.stdin.readline()
session.get(url + "/secret-page")
