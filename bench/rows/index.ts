import { decode } from './decode.ts';
import { emulated } from './emulated.ts';
import { esp } from './esp.ts';
import { receive } from './receive.ts';
import { requests } from './requests.ts';
import type { Row } from './row.ts';
import { scan } from './scan.ts';

/** In the order of the table. */
export const rows: readonly Row[] = [decode, scan, receive, requests, emulated, esp];
