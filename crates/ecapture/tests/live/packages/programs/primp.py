import sys
import primp

client = primp.Client(verify=False)
url = f"https://localhost:{sys.argv[1]}"
client.get(url + "/before").text
print("open", flush=True)
sys.stdin.readline()
client.get(url + "/secret-page").text
