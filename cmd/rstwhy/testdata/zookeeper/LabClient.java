import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;

/**
 * A real ZooKeeper client, driven by lines on standard input, that answers each
 * with a line on standard output. What the class path and the system
 * properties choose is the library's release and its socket (NIO or Netty).
 */
public class LabClient {
    private static final List<ZooKeeper> open = new ArrayList<ZooKeeper>();
    private static final List<byte[]> kept = new ArrayList<byte[]>();

    private static ZooKeeper last() {
        return open.get(open.size() - 1);
    }

    private static Watcher watcher() {
        return new Watcher() {
            public void process(WatchedEvent e) {
                System.out.println("event " + e.getState() + " " + e.getType());
            }
        };
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] f = line.trim().split(" ");
            try {
                System.out.println("done " + line + " " + run(f));
            } catch (Exception e) {
                System.out.println("done " + line + " failed " + e);
            }
        }
    }

    private static String run(String[] f) throws Exception {
        if (f[0].equals("open")) { // open SERVER TIMEOUT-MS
            open.add(new ZooKeeper(f[1], Integer.parseInt(f[2]), watcher()));
        } else if (f[0].equals("renew")) { // renew SERVER TIMEOUT-MS SESSION PASSWORD-HEX OPERATIONS
            byte[] password = new byte[16];
            for (int i = 0; i < 16; i++) {
                password[i] = (byte) Integer.parseInt(f[4].substring(2 * i, 2 * i + 2), 16);
            }
            open.add(new ZooKeeper(f[1], Integer.parseInt(f[2]), watcher(), Long.parseUnsignedLong(f[3], 16), password));
            gets(Integer.parseInt(f[5]), "/");
        } else if (f[0].equals("session")) {
            StringBuilder b = new StringBuilder(Long.toHexString(last().getSessionId()) + " ");
            for (byte x : last().getSessionPasswd()) {
                b.append(String.format("%02x", x));
            }
            return b.toString();
        } else if (f[0].equals("create")) { // create PATH BYTES
            return last().create(f[1], new byte[Integer.parseInt(f[2])], ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        } else if (f[0].equals("set")) { // set PATH BYTES
            return "" + last().setData(f[1], new byte[Integer.parseInt(f[2])], -1).getVersion();
        } else if (f[0].equals("get")) { // get PATH
            return "" + last().getData(f[1], false, null).length;
        } else if (f[0].equals("gets")) { // gets COUNT PATH, without waiting
            gets(Integer.parseInt(f[1]), f[2]);
        } else if (f[0].equals("sets")) { // sets COUNT PATH BYTES, without waiting
            for (int i = Integer.parseInt(f[1]); i > 0; i--) {
                last().setData(f[2], new byte[Integer.parseInt(f[3])], -1, null, null);
            }
        } else if (f[0].equals("auth")) { // auth SCHEME TEXT OPERATIONS
            last().addAuthInfo(f[1], f[2].getBytes());
            gets(Integer.parseInt(f[3]), "/");
        } else if (f[0].equals("wait")) { // wait MS
            Thread.sleep(Integer.parseInt(f[1]));
        } else if (f[0].equals("close")) {
            open.remove(open.size() - 1).close();
        } else {
            return "unknown";
        }
        return "ok";
    }

    private static void gets(int n, String path) {
        for (int i = 0; i < n; i++) {
            last().getData(path, false, (rc, p, ctx, data, stat) -> { }, null);
        }
    }
}
